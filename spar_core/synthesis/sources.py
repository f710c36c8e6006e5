"""The user's own prompts: JSON lines, Parquet, or a data set by name; and the shipped seed instructions.

Rows are read one after another. A row has `prompt`, and may have `response` (an answer to start from)
and `constraints` (a list of {"id", "kwargs"}, or of {"kind", "kwargs"}).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.constraints import bound_kind
from spar_core.constraints.vocabulary import Split
from spar_core.errors import DataError
from spar_core.evaluation.row_files import BAD_ROW, MAX_LINE_BYTES, open_binary
from spar_core.hashing import content_id
from spar_core.records import Constraint, Drop, Prompt

STAGE = "read_prompts"
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")
_UTF8_MARK = b"\xef\xbb\xbf"
_PARQUET_BATCH = 1024


class PromptRow(NamedTuple):
    """One prompt and, if the row has one, a given answer to it."""

    prompt: Prompt
    response: str | None


@dataclass(frozen=True, slots=True)
class _Raw:
    """A row before it is checked: its place, and its values or what is wrong with it."""

    where: str
    values: Mapping[str, Any]
    problem: str = ""


def read_prompt_rows(
    source: str | Path, *, skip_bad: bool = False, split: str = "train", data_split: str = "train"
) -> Iterator[PromptRow | Drop]:
    """Prompts of a file or a data set, in order.

    Args:
        source: a JSON-lines file (plain or gzip), a Parquet file, a folder of Parquet files, or a name
            that `datasets.load_dataset` knows.
        skip_bad: yield a `Drop` (reason bad_row, detail file and line) for a broken row instead of stopping.
        split: the split the prompts get.
        data_split: the split to take of a named data set.

    Raises:
        DataError: no such source; a broken row, naming file and line; no usable row at all.
    """
    read = 0
    for raw in _raw_rows(source, data_split):
        try:
            row = _checked(raw, split)
        except DataError as error:
            if not skip_bad:
                raise
            yield Drop(STAGE, content_id("row", str(source), raw.where), BAD_ROW, str(error))
            continue
        read += 1
        yield row
    if not read:
        raise DataError(f"{source}: no usable prompt; every row needs a column 'prompt' with text")


def seed_prompts(split: Split = "train") -> tuple[str, ...]:
    """The shipped everyday instructions of a split, which synthesis starts from when no file is named.

    Splits share none: what `dev` and `test` measure on is never trained on.
    """
    text = (resources.files("spar_core.synthesis") / "data" / "seed_prompts.jsonl").read_text("utf-8")
    rows = (json.loads(line) for line in text.splitlines())
    return tuple(row["text"] for row in rows if row["split"] == split)


def _raw_rows(source: str | Path, data_split: str) -> Iterator[_Raw]:
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix == ".parquet":
            return _parquet_rows([path])
        if path.name.endswith(_JSON_SUFFIXES):
            return _json_rows(path)
        raise DataError(f"{path}: prompts are read from .jsonl, .jsonl.gz or .parquet files; convert or rename it")
    if path.is_dir() and (files := sorted(path.glob("*.parquet"))):
        return _parquet_rows(files)
    if path.suffix == ".parquet" or path.name.endswith(_JSON_SUFFIXES):
        raise DataError(f"{path}: no such file; give the path of a JSON-lines or Parquet file")
    return _named_rows(str(source), data_split)


def _json_rows(path: Path) -> Iterator[_Raw]:
    number = 0
    try:
        with open_binary(path) as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(MAX_LINE_BYTES)
                    yield _Raw(
                        where, {}, f"longer than {MAX_LINE_BYTES >> 20} MiB; one JSON object per line is expected"
                    )
                    continue
                if number == 1:
                    line = line.removeprefix(_UTF8_MARK)
                if line.strip():
                    yield _parse(line, where)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read after line {number} ({error})") from error


def _parse(line: bytes, where: str) -> _Raw:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _Raw(where, {}, f"not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return _Raw(where, {}, f"not a JSON object ({error})")
    if not isinstance(values, dict):
        return _Raw(where, {}, f"a row must be a JSON object, not {type(values).__name__}")
    return _Raw(where, values)


def _parquet_rows(files: list[Path]) -> Iterator[_Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            with pq.ParquetFile(path) as table:
                columns = [name for name in ("prompt", "response", "constraints") if name in table.schema_arrow.names]
                if "prompt" not in columns:
                    raise DataError(f"{path}: no column 'prompt'; the file has {table.schema_arrow.names}")
                number = 0
                for batch in table.iter_batches(batch_size=_PARQUET_BATCH, columns=columns):
                    for values in batch.to_pylist():
                        number += 1
                        yield _Raw(f"{path}, row {number}", values)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a readable Parquet file ({error})") from error


def _named_rows(name: str, data_split: str) -> Iterator[_Raw]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        rows = load_dataset(name, split=data_split, streaming=True)
        for number, values in enumerate(rows, 1):
            yield _Raw(f"{name}[{data_split}], row {number}", values)
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(
            f"{name!r} is neither a JSON-lines or Parquet file nor a data set that could be loaded "
            f"(split {data_split!r}): {error}"
        ) from error


def _checked(raw: _Raw, split: str) -> PromptRow:
    if raw.problem:
        raise DataError(f"{raw.where}: {raw.problem}")
    text, response = raw.values.get("prompt"), raw.values.get("response")
    if not isinstance(text, str) or not text.strip():
        found = f"is {text!r:.60}" if "prompt" in raw.values else f"is missing; the row has {sorted(raw.values)}"
        raise DataError(f"{raw.where}: column 'prompt' must be text that is not blank; it {found}")
    if response is not None and not isinstance(response, str):
        raise DataError(f"{raw.where}: column 'response' must be text, not {type(response).__name__}")
    try:
        constraints = _constraints(raw.values.get("constraints"))
    except (DataError, ValueError) as error:
        raise DataError(f"{raw.where}: column 'constraints': {error}") from error
    return PromptRow(Prompt.create(text, constraints, split, "user"), response)


def _constraints(given: Any) -> tuple[Constraint, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise DataError(f'a list of {{"id", "kwargs"}} objects is expected, not {type(given).__name__}')
    return tuple(_constraint(entry) for entry in given)


def _constraint(entry: Any) -> Constraint:
    kind = (entry.get("id") or entry.get("kind")) if isinstance(entry, dict) else None
    if not isinstance(kind, str):
        raise DataError(f'each entry needs "id" and, where the kind has arguments, "kwargs"; got {entry!r:.80}')
    arguments = entry.get("kwargs") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        raise DataError(f"{kind}: kwargs must be an object, not {type(arguments).__name__}")
    constraint = Constraint.create(kind, **{name: value for name, value in arguments.items() if value is not None})
    bound_kind(constraint)
    return constraint
