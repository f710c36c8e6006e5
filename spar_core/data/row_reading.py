"""Rows of data files as they stand there: JSON arrays, JSON lines (both also gzip), Parquet; a few in memory at once.

What a file is shows its content: one that begins with `[` is an array, else it has an object a line. A row that is no
JSON object carries what is wrong with it; a file that cannot be read on is an error, as nobody can say what follows.
"""

import codecs
import io
import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from spar_core.data.given_source import PARQUET_SUFFIX
from spar_core.errors import DataError
from spar_core.evaluation.row_files import MAX_LINE_BYTES, open_binary

_UTF8_MARK = b"\xef\xbb\xbf"
_OTHER_MARKS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16", codecs.BOM_UTF32_BE: "UTF-32"}
_PROBE_BYTES = 65536
_PARQUET_BATCH = 1024
_CHUNK: Final = 1 << 20  # characters read at once of an array


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row before anybody looked at its columns: its place, and its values or what is wrong with it."""

    file: str
    place: str
    values: Mapping[str, Any]
    problem: str = ""

    @property
    def where(self) -> str:
        """`FILE, line N`."""
        return f"{self.file}, {self.place}"

    def fail(self, message: object) -> DataError:
        """The error to raise for this row."""
        return DataError(f"{self.where}: {message}")


def raw_rows(path: Path, name: str = "", columns: Collection[str] = ()) -> Iterator[RawRow]:
    """The rows of one file, in order.

    Args:
        path: the file.
        name: what messages call it; its path by default.
        columns: of a Parquet file, only these are read; it must have one of them. Empty: all.

    Raises:
        DataError: it cannot be read, or not on from some row; names the file and the line.
    """
    shown = name or str(path)
    if path.name.endswith(PARQUET_SUFFIX):
        yield from _parquet_rows(path, shown, columns)
        return
    read = 0
    try:
        begins_with = _beginning(path, shown)
        rows = _array_rows(path, shown) if begins_with == b"[" else _line_rows(path, shown)
        for row in rows:
            read += 1
            yield row
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shown}: cannot be read after row {read} ({error})") from error


def _beginning(path: Path, shown: str) -> bytes:
    """The first character that counts; empty for an empty file."""
    with open_binary(path) as stream:
        head = stream.read(_PROBE_BYTES)
    encoding = next((found for mark, found in _OTHER_MARKS.items() if head.startswith(mark)), None)
    if encoding is not None:
        raise DataError(f"{shown}: is {encoding}; save it as UTF-8 (`iconv -f {encoding} -t UTF-8`)")
    return head.removeprefix(_UTF8_MARK).lstrip()[:1]


def _line_rows(path: Path, shown: str) -> Iterator[RawRow]:
    number = 0
    with open_binary(path) as stream:
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = f"line {number}"
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                problem = f"longer than {MAX_LINE_BYTES >> 20} MiB; one JSON object per line is expected"
                yield RawRow(shown, place, {}, problem)
                continue
            if number == 1:
                line = line.removeprefix(_UTF8_MARK)
            if line.strip():
                yield _parsed(line, shown, place)


def _parsed(line: bytes, shown: str, place: str) -> RawRow:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RawRow(shown, place, {}, f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        problem = f"not a JSON object ({error}); one a line, or one array of them, is expected"
        return RawRow(shown, place, {}, problem)
    return _row(shown, place, values)


def _row(shown: str, place: str, values: Any) -> RawRow:
    if not isinstance(values, dict):
        return RawRow(shown, place, {}, f"a row must be a JSON object, not {type(values).__name__}")
    return RawRow(shown, place, values)


def _array_rows(path: Path, shown: str) -> Iterator[RawRow]:
    with open_binary(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        reader = _ArrayReader(text, shown)
        try:
            yield from reader.rows()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{shown}: not UTF-8 after line {reader.line} ({error.reason}); save it as UTF-8"
            ) from error


class _ArrayReader:
    """The elements of a JSON array, one after another: only what is read of it and not yet given out is in memory."""

    def __init__(self, text: TextIO, shown: str) -> None:
        self._text = text
        self._shown = shown
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._counted = 0
        self._ended = False
        self.line = 1

    def rows(self) -> Iterator[RawRow]:
        """Every element; what is between and after them must be what JSON says.

        Raises:
            DataError: it is not, so that nothing can be said of the rest.
        """
        self._next()
        self._at += 1  # the bracket that made this an array
        number = 0
        while (sign := self._next()) != "]":
            if number:
                if sign != ",":
                    raise self._broken(number, f"a comma or ] is expected, not {sign or 'the end of the file'!r}")
                self._at += 1
                self._next()
            number += 1
            place = f"line {self.line} (row {number})"
            yield _row(self._shown, place, self._value(number))
        self._at += 1
        if self._next():
            raise self._broken(number, "something follows the end of the array")

    def _next(self) -> str:
        """The next character that is no white space, where the reader then stands; empty at the end of the file."""
        while True:
            while self._at < len(self._buffer):
                if not self._buffer[self._at].isspace():
                    self.line += self._buffer.count("\n", self._counted, self._at)
                    self._counted = self._at
                    return self._buffer[self._at]
                self._at += 1
            if not self._more(_CHUNK):
                return ""

    def _value(self, number: int) -> Any:
        wanted = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError as error:
                raise self._broken(number, f"it is nested too deeply ({error})") from error
            except ValueError as error:
                if len(self._buffer) - self._at > MAX_LINE_BYTES or not self._more(wanted):
                    raise self._broken(number, str(error)) from error
                wanted *= 2  # a long row costs a few attempts, not one for each chunk
            else:
                self._at = end
                return value

    def _more(self, size: int) -> bool:
        """Read on; whether there was anything."""
        if self._ended:
            return False
        chunk = self._text.read(size)
        self._ended = not chunk
        self.line += self._buffer.count("\n", self._counted, self._at)
        self._buffer, self._at, self._counted = self._buffer[self._at :] + chunk, 0, 0
        return bool(chunk)

    def _broken(self, number: int, problem: str) -> DataError:
        return DataError(
            f"{self._shown}, line {self.line} (row {max(number, 1)}): the array is broken here, so that what follows "
            f"cannot be read ({problem}); mend the file, or write one JSON object a line"
        )


def _parquet_rows(path: Path, shown: str, columns: Collection[str]) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            there = table.schema_arrow.names
            read = [name for name in there if not columns or name in columns]
            if not read:
                raise DataError(f"{shown}: no column of {', '.join(columns)}; the file has {there}")
            number = 0
            for batch in table.iter_batches(batch_size=_PARQUET_BATCH, columns=read):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(shown, f"row {number}", values)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shown}: not a readable Parquet file ({error})") from error
