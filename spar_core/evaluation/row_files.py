"""Reading answer and judgement files: JSON lines, plain or gzip, one row in memory at a time.

Whatever is wrong with a row becomes a `DataError` that names the file and the line.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, cast

from spar_core.errors import DataError
from spar_core.hashing import content_id
from spar_core.records import Drop

BAD_ROW = "bad_row"
MAX_LINE_BYTES = 64 * 2**20  # a row longer than this is a file without line ends, not an answer
_GZIP_MAGIC = b"\x1f\x8b"
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FileRow:
    """One JSON object of a file and where it stands (`where` reads "FILE, line N")."""

    where: str
    values: Mapping[str, Any]
    line: int = 0

    def fail(self, message: str) -> DataError:
        """The error to raise for this row."""
        return DataError(f"{self.where}: {message}")

    def text(self, name: str) -> str:
        """A required text column.

        Raises:
            DataError: absent or not text.
        """
        value = self.optional_text(name)
        if value is None:
            raise self.fail(f"column {name!r} is missing; the row has {sorted(self.values)}")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text column; None where absent or null.

        Raises:
            DataError: present, but not text.
        """
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.fail(f"column {name!r} must be text, not {type(value).__name__}")
        return value

    def integer(self, name: str) -> int:
        """A required whole number (text of digits counts, as many exports write it).

        Raises:
            DataError: absent or not a whole number.
        """
        value = self.values.get(name)
        if isinstance(value, str) and value.isdecimal() and len(value) < 10:
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(f"column {name!r} must be a whole number, not {value!r:.60}")
        return value

    def identity(self, default: str) -> str:
        """The row's `id` (text or a whole number) as text, `default` where it has none.

        Raises:
            DataError: another type.
        """
        value = self.values.get("id")
        return str(self.integer("id")) if isinstance(value, int) else self.optional_text("id") or default

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """A text column that takes one of `allowed`.

        Raises:
            DataError: another value, or absent without a default.
        """
        value = self.optional_text(name)
        if value is None and default is not None:
            return default
        if value not in allowed:
            raise self.fail(f"column {name!r} must be one of {', '.join(allowed)}, not {value!r:.60}")
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        """An object column; empty where absent or null.

        Raises:
            DataError: present, but not an object.
        """
        value = self.values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(f"column {name!r} must be an object, not {type(value).__name__}")
        return value


class LeftOut:
    """Bad rows that were left out of a file, each with what is wrong with it; for callers that go on without them."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self.drops: list[Drop] = []

    def add(self, where: str, reason: str, detail: str) -> None:
        """Leave a row out."""
        self.drops.append(Drop(self._stage, content_id("row", where), reason, detail))


def read_rows(path: Path, left_out: LeftOut | None = None) -> Iterator[FileRow]:
    """Rows of a JSON-lines file (gzip is recognised by content), blank lines skipped.

    `left_out`: takes the lines that are no rows, instead of an error.

    Raises:
        DataError: no such file, not UTF-8, not JSON, not an object, a torn gzip file; names file and line.
    """
    try:
        with open_binary(path) as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(raw) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{where}: longer than {MAX_LINE_BYTES >> 20} MiB; one JSON object per line is expected"
                    )
                if number == 1:
                    raw = raw.removeprefix(_UTF8_MARK)
                if not raw.strip():
                    continue
                try:
                    row = FileRow(where, _parse(raw, where), number)
                except DataError as error:
                    if left_out is None:
                        raise
                    left_out.add(where, BAD_ROW, str(error))
                else:
                    yield row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip data is damaged after line {number} ({error}); make the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_list(path: Path, expected: str) -> list[Any]:
    """The rows of a JSON file that holds one list; `expected` says what its folder must hold, for the message.

    Raises:
        DataError: no such file, not JSON, not a list.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; the data folder must hold {expected}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: the file must hold a list of rows")
    return rows


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading; gzip content is unpacked on the way."""
    with path.open("rb") as probe:
        packed = probe.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


def _parse(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a JSON object ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: a row must be a JSON object, not {type(value).__name__}")
    return value


class SeenIds:
    """Refuses the second row of one id; keeps 64 bits per id, not the id, so large files stay small in memory."""

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}

    def add(self, row: FileRow, identity: str) -> None:
        """Register a row.

        Raises:
            DataError: an earlier row has the same identity.
        """
        key = int.from_bytes(blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        first = self._lines.setdefault(key, row.line)
        if first != row.line:
            raise row.fail(f"duplicate of line {first} ({identity}); give each row its own 'id', or remove one")


@contextmanager
def row_writer(path: Path | None) -> Iterator["RowSink"]:
    """Write rows to a file that appears only when complete; with no path the rows go nowhere.

    Raises:
        DataError: the file cannot be written.
    """
    if path is None:
        yield RowSink(None)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            yield RowSink(stream)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


class RowSink:
    """Takes rows as JSON lines."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        if self._stream is not None:
            self._stream.write(json.dumps(row) + "\n")
