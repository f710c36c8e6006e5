"""Training data given by a user, as examples to be supervised on or as preference pairs.

Rows may be of any shape that `shapes` knows, in any file that `given_source` finds. What a row cannot be used for is a
recorded drop: data sets hold rows for both roles and both kinds of training. What is broken stops with file and line,
or is a drop as well where that was asked for.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args

from spar_core.data.example_kinds import Formats, Kind, kind_of, known_formats
from spar_core.data.given_source import DataFile, DataSource, files_to_read
from spar_core.data.row_reading import RawRow, raw_rows
from spar_core.data.shapes import COLUMNS, ShapedRow, shaped
from spar_core.errors import DataError
from spar_core.evaluation.row_files import BAD_ROW
from spar_core.hashing import content_id
from spar_core.records import Drop, GivenPair, ModelRole, RefinerExample

NO_EXAMPLE: Final = "no_example"
NO_PAIR: Final = "no_pair"
OTHER_ROLE: Final = "other_role"
IDENTICAL: Final = "identical"
_WHOSE: Final[Mapping[Kind, ModelRole | None]] = {
    "answer": "actor",
    "judgement": "refiner",
    "refinement": "refiner",
    "replay": None,
}


def read_examples(
    source: str | Path, role: ModelRole, *, skip_bad: bool = False, prompt_set: str | None = None
) -> Iterator[RefinerExample | Drop]:
    """Supervised examples for one role, in order; whole chats, however many turns they have.

    Args:
        source: as `given_source` describes.
        role: whose training they are for. Rows of the other role are dropped (`other_role`), as are pairs and rows
            without an answer (`no_example`). The kind of a row is its column `kind`, else what the source says, else
            read off its text.
        skip_bad: yield a `Drop` (`bad_row`) for a broken row instead of stopping.
        prompt_set: its format tells judgements and refinements too, beside those of the shipped sets.

    Raises:
        DataError: no such source; a broken row, naming file, line and what is expected; no usable row at all.
        ConfigError: there is no such prompt set.
    """
    rows = _examples(DataSource.parse(source), role, known_formats(prompt_set), skip_bad=skip_bad)
    yield from _checked(rows, f"{source}: no example for the {role}")


def read_pairs(source: str | Path, *, skip_bad: bool = False) -> Iterator[GivenPair | Drop]:
    """Preference pairs, in order. Rows that are none are dropped (`no_pair`), as are equal answers (`identical`).

    Args:
        source: as `given_source` describes.
        skip_bad: as for `read_examples`.

    Raises:
        DataError: as `read_examples`.
    """
    yield from _checked(_pairs(DataSource.parse(source), skip_bad=skip_bad), f"{source}: no preference pair")


def source_rows(source: DataSource) -> Iterator[tuple[DataFile, RawRow]]:
    """Every row of a source with its file.

    Raises:
        DataError: no such source, or a file that cannot be read.
    """
    for file in files_to_read(source):
        for raw in raw_rows(file.path, file.name, COLUMNS):
            yield file, raw


def shaped_row(raw: RawRow) -> ShapedRow:
    """A row in the one form.

    Raises:
        DataError: it is broken; names file and line.
    """
    if raw.problem:
        raise raw.fail(raw.problem)
    try:
        return shaped(raw.values)
    except DataError as error:
        raise raw.fail(error) from error


def stated_kind(values: Mapping[str, Any], source: DataSource) -> Kind | None:
    """The kind that a row or its source states; None where neither does.

    Raises:
        DataError: the row states one that there is not.
    """
    kind = values.get("kind") or source.kind or None
    if kind is not None and kind not in get_args(Kind):
        raise DataError(f"kind {kind!r} is unknown; allowed: {', '.join(get_args(Kind))}")
    return cast("Kind | None", kind)


def _examples(
    source: DataSource, role: ModelRole, formats: Formats, *, skip_bad: bool
) -> Iterator[RefinerExample | Drop]:
    drop = _Drops("given_examples")
    for file, raw in source_rows(source):
        try:
            row, stated = shaped_row(raw), _kind(raw, source)
        except DataError as error:
            if not skip_bad:
                raise
            yield drop(file, raw, BAD_ROW, str(error))
            continue
        if row.answer is None or row.rejected is not None:
            detail = "a pair (`--pairs` reads it)" if row.rejected is not None else "no answer by the assistant"
            yield drop(file, raw, NO_EXAMPLE, detail)
            continue
        kind = stated or kind_of(row.messages, formats)
        if _WHOSE[kind] not in (role, None):
            detail = f"{'stated' if stated else 'read'} as {kind}, which is the {_WHOSE[kind]}'s"
            yield drop(file, raw, OTHER_ROLE, detail)
            continue
        yield RefinerExample(content_id("example", row.messages), kind, file.path.name, row.messages)


def _pairs(source: DataSource, *, skip_bad: bool) -> Iterator[GivenPair | Drop]:
    drop = _Drops("given_pairs")
    for file, raw in source_rows(source):
        try:
            row = shaped_row(raw)
        except DataError as error:
            if not skip_bad:
                raise
            yield drop(file, raw, BAD_ROW, str(error))
            continue
        if row.answer is None or row.rejected is None:
            yield drop(file, raw, NO_PAIR, f"{row.shape} has no chosen and rejected answer")
        elif row.answer.strip() == row.rejected.strip():
            yield drop(file, raw, IDENTICAL, "chosen and rejected are equal")
        else:
            pair_id = content_id("given_pair", row.prompt, row.answer, row.rejected)
            yield GivenPair(pair_id, file.path.name, row.prompt, row.answer, row.rejected, *row.cut)


def _kind(raw: RawRow, source: DataSource) -> Kind | None:
    try:
        return stated_kind(raw.values, source)
    except DataError as error:
        raise raw.fail(error) from error


class _Drops:
    """Makes the drops of one stage. They tell a row by its file's path below the source, so that data may be moved."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __call__(self, file: DataFile, raw: RawRow, reason: str, detail: str) -> Drop:
        place = f"{file.short}, {raw.place}"
        said = detail.removeprefix(f"{raw.where}: ")
        return Drop(self._stage, content_id("row", place), reason, f"{place}: {said}")


def _checked(rows: Iterator[Any], none: str) -> Iterator[Any]:
    """The rows; an error at their end where all of them were drops."""
    lost: dict[str, int] = {}
    first: dict[str, str] = {}
    usable = False
    for row in rows:
        if isinstance(row, Drop):
            lost[row.reason] = lost.get(row.reason, 0) + 1
            first.setdefault(row.reason, row.detail)
        else:
            usable = True
        yield row
    if not usable:
        why = "; ".join(f"{count} {reason}, the first: {first[reason]}" for reason, count in lost.items())
        raise DataError(
            f"{none} in {sum(lost.values())} rows{f' ({why})' if why else ''}; `spar inspect` shows what is there"
        )
