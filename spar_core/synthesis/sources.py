"""The user's own prompts, from wherever `spar_core.data.given_source` finds data; and the shipped seed instructions.

Rows are read one after another. A row has `prompt`, and may have `response` (an answer to start from)
and `constraints` (a list of {"id", "kwargs"}, or of {"kind", "kwargs"}; a text is a soft one, which no code
checks). Rows of the shapes of training data (`spar_core.data.shapes`) are read too, where what they ask is one turn of
the user.
"""

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.constraints import bound_kind
from spar_core.constraints.vocabulary import Split
from spar_core.data.given_source import DataSource, files_to_read
from spar_core.data.row_reading import RawRow, raw_rows
from spar_core.data.shapes import COLUMNS, shaped
from spar_core.errors import DataError
from spar_core.evaluation.row_files import BAD_ROW
from spar_core.hashing import content_id
from spar_core.records import SOFT, Constraint, Drop, Prompt

STAGE = "read_prompts"


class PromptRow(NamedTuple):
    """One prompt and, if the row has one, a given answer to it."""

    prompt: Prompt
    response: str | None


def read_prompt_rows(source: str | Path, *, skip_bad: bool = False, split: str = "train") -> Iterator[PromptRow | Drop]:
    """Prompts of a source, in order.

    Args:
        source: a file, a folder or a data set of the hub, as `spar_core.data.given_source` describes.
        skip_bad: yield a `Drop` (reason bad_row, detail file and line) for a broken row instead of stopping.
        split: the split the prompts get.

    Raises:
        DataError: no such source; a broken row, naming file and line; no usable row at all.
    """
    read = 0
    for raw in _raw_rows(source):
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


def _raw_rows(source: str | Path) -> Iterator[RawRow]:
    for file in files_to_read(DataSource.parse(source)):
        yield from raw_rows(file.path, file.name, COLUMNS)


def _checked(raw: RawRow, split: str) -> PromptRow:
    if raw.problem:
        raise raw.fail(raw.problem)
    try:
        text, response = _asked(raw)
    except DataError as error:
        raise raw.fail(error) from error
    try:
        constraints = _constraints(raw.values.get("constraints"))
    except (DataError, ValueError) as error:
        raise raw.fail(f"column 'constraints': {error}") from error
    return PromptRow(Prompt.create(text, constraints, split, "user"), response)


def _asked(raw: RawRow) -> tuple[str, str | None]:
    """The prompt, and the answer given to it; what a pair prefers is no answer to start from."""
    text, response = raw.values.get("prompt"), raw.values.get("response")
    if isinstance(text, str) and text.strip():
        if response is not None and not isinstance(response, str):
            raise DataError(f"column 'response' must be text, not {type(response).__name__}")
        return text, response
    row = shaped(raw.values)
    if len(row.prompt) > 1:
        raise DataError(f"a prompt is one turn of the user; this one has {len(row.prompt)} turns")
    return row.prompt[0].content, row.answer if row.rejected is None else None


def _constraints(given: Any) -> tuple[Constraint, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise DataError(f'a list of {{"id", "kwargs"}} objects or of texts is expected, not {type(given).__name__}')
    return tuple(_constraint(entry) for entry in given)


def _constraint(entry: Any) -> Constraint:
    if isinstance(entry, str):
        entry = {"kind": SOFT, "kwargs": {"text": entry}}
    kind = (entry.get("id") or entry.get("kind")) if isinstance(entry, dict) else None
    if not isinstance(kind, str):
        raise DataError(
            f'each entry needs "id" and, where the kind has arguments, "kwargs", or is a text; got {entry!r:.80}'
        )
    arguments = entry.get("kwargs") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        raise DataError(f"{kind}: kwargs must be an object, not {type(arguments).__name__}")
    constraint = Constraint.create(kind, **{name: value for name, value in arguments.items() if value is not None})
    if kind != SOFT:
        bound_kind(constraint)
    elif not (arguments.keys() == {"text"} and isinstance(arguments["text"], str) and arguments["text"].strip()):
        raise DataError(f"{SOFT}: a constraint in words has them as its one argument, text; got {arguments!r:.80}")
    return constraint
