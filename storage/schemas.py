"""Arrow schemas of the records, derived from their type hints, and the way there and back.

A lone surrogate (half of a character, as broken JSON can carry one) has no UTF-8 form: it is stored as U+FFFD.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, cast

import pyarrow as pa

from spar_core import records
from spar_core.errors import StorageError

SCHEMA_VERSION = 1  # raise when a record's fields change meaning; added fields need no new number
OLDEST_SCHEMA = 1  # raise it too when what older versions wrote cannot be understood any more: it is made anew

TABLES: dict[str, type] = {
    "prompts": records.Prompt,
    "responses": records.Response,
    "votes": records.Vote,
    "judgements": records.Judgement,
    "rubric_votes": records.RubricVote,
    "rubric_scores": records.RubricScore,
    "meta_votes": records.MetaVote,
    "roots": records.Root,
    "trees": records.Tree,
    "tree_nodes": records.TreeNode,
    "tree_votes": records.Vote,
    "preference_pairs": records.PreferencePair,
    "judge_pairs": records.PreferencePair,
    "given_pairs": records.GivenPair,
    "refiner_examples": records.RefinerExample,
    "drops": records.Drop,
    "eval_prompts": records.Prompt,
    "eval_responses": records.Response,
    "eval_trees": records.Tree,
    "eval_tree_nodes": records.TreeNode,
    "eval_items": records.EvalItem,
    "eval_scores": records.EvalScore,
}

# Columns that do not count for a digest: they measure the machine, or say where a row comes from, which nothing that
# reads the row depends on. Equal work has equal digests without them.
UNCOUNTED_COLUMNS: dict[type, frozenset[str]] = {
    records.Prompt: frozenset({"seed_prompt"}),
    records.Tree: frozenset({"engine_seconds"}),
    records.TreeNode: frozenset({"completion_tokens", "prompt_tokens"}),
    records.Vote: frozenset({"completion_tokens", "prompt_tokens"}),
    records.PreferencePair: frozenset({"chosen_id", "rejected_id"}),
    records.RefinerExample: frozenset({"prompt_id", "text_id", "tree_id"}),
    records.EvalItem: frozenset({"response_id", "sample"}),
}

# Columns that count for a digest only where they hold something: rows without have the digest they always had.
_WHERE_FILLED = frozenset(
    {"thought", "rewrite", "settings", "votes_of", "votes_spared", "by_constraint", "chosen_cut", "rejected_cut"}
)

_PLAIN_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Column(NamedTuple):
    """One field of a record: its Arrow form, and the conversions between Python and Arrow values."""

    field: pa.Field
    to_arrow: Callable[[Any], Any]
    to_python: Callable[[Any], Any] | None  # None where both values are the same


def record_type(table: str) -> type:
    """The record class stored in `table`.

    Raises:
        StorageError: there is no such table.
    """
    try:
        return TABLES[table]
    except KeyError:
        raise StorageError(f"unknown table {table!r}; the tables are {', '.join(TABLES)}") from None


def schema_of(record: type) -> pa.Schema:
    """Arrow schema of a record class, one column per field, in order."""
    return pa.schema([column.field for column in columns_of(record)], metadata={"spar.version": str(SCHEMA_VERSION)})


@cache
def columns_of(record: type) -> tuple[Column, ...]:
    """The columns of a record class.

    Raises:
        StorageError: a field's type has no Arrow form.
    """
    hints = typing.get_type_hints(record)
    return tuple(_column(field.name, hints[field.name]) for field in dataclasses.fields(record))


def to_batch(table: str, rows: Sequence[Any]) -> pa.RecordBatch:
    """The rows (records of the table's class) as one Arrow batch.

    Raises:
        StorageError: a row is of another class, or a value does not fit its column (named).
    """
    record = record_type(table)
    for row in rows:
        if type(row) is not record:
            raise StorageError(f"table {table!r} holds {record.__name__} records, not {type(row).__name__}")
    arrays = [_array(table, column, [getattr(row, column.field.name) for row in rows]) for column in columns_of(record)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(record))


def from_batch(table: str, batch: pa.RecordBatch) -> Iterator[Any]:
    """The records of a batch, in order. A column the batch lacks takes the field's default.

    Raises:
        StorageError: a column without a default is missing.
    """
    record = record_type(table)
    present = [column for column in columns_of(record) if column.field.name in batch.schema.names]
    required = {entry.name for entry in dataclasses.fields(record) if _is_required(entry)}
    missing = required - {column.field.name for column in present}
    if missing:
        raise StorageError(
            f"table {table!r} lacks the columns {', '.join(sorted(missing))}; written by another version"
        )
    names = [column.field.name for column in present]
    values = [_python_values(column, batch.column(column.field.name)) for column in present]
    for row in zip(*values, strict=True):
        yield record(**dict(zip(names, row, strict=True)))


def row_identity(table: str, row: Any) -> list[Any]:
    """What of a row counts for an artifact's digest: its values as stored, but those that never count or are empty."""
    record: type = type(row)
    uncounted = UNCOUNTED_COLUMNS.get(record, frozenset())
    return [
        column.to_arrow(getattr(row, column.field.name))
        for column in columns_of(record)
        if column.field.name not in uncounted
        and not (column.field.name in _WHERE_FILLED and not getattr(row, column.field.name))
    ]


def _is_required(entry: "dataclasses.Field[Any]") -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _array(table: str, column: Column, values: list[Any]) -> pa.Array:
    name = column.field.name
    try:
        array = pa.array([column.to_arrow(value) for value in values], type=column.field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise StorageError(f"a value does not fit column {name!r} of table {table!r}: {error}") from error
    if array.null_count and not column.field.nullable:
        raise StorageError(f"column {name!r} of table {table!r} must not be null")
    return array


def _python_values(column: Column, array: pa.Array) -> list[Any]:
    values = cast("list[Any]", array.to_pylist())
    convert = column.to_python
    return values if convert is None else [convert(value) for value in values]


def _column(name: str, hint: Any) -> Column:
    inner, nullable = _without_none(hint)
    arrow_type, to_arrow, to_python = _conversion(name, inner)
    if nullable:
        to_arrow = _unless_none(to_arrow)
        to_python = None if to_python is None else _unless_none(to_python)
    return Column(pa.field(name, arrow_type, nullable=nullable), to_arrow, to_python)


def _conversion(name: str, hint: Any) -> tuple[pa.DataType, Callable[[Any], Any], Callable[[Any], Any] | None]:
    if typing.get_origin(hint) is typing.Literal:
        return pa.string(), _one_of(typing.get_args(hint)), None
    if typing.get_origin(hint) is tuple:
        return _list_conversion(name, typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return pa.string(), lambda value: hint(value).value, hint
    if hint is str:
        return pa.string(), clean_text, None
    if hint is float:
        return pa.float64(), float, None
    if hint in _PLAIN_TYPES:
        return _PLAIN_TYPES[hint], _same, None
    raise StorageError(f"field {name!r} has type {hint!r}, which has no Arrow form")


def _list_conversion(
    name: str, arguments: tuple[Any, ...]
) -> tuple[pa.DataType, Callable[[Any], Any], Callable[[Any], Any]]:
    if len(arguments) != 2 or arguments[1] is not Ellipsis or not dataclasses.is_dataclass(arguments[0]):
        raise StorageError(f"field {name!r}: only tuple[<dataclass>, ...] has an Arrow form")
    inner = cast("type", arguments[0])
    parts = columns_of(inner)

    def to_arrow(items: Any) -> list[dict[str, Any]]:
        return [{part.field.name: part.to_arrow(getattr(item, part.field.name)) for part in parts} for item in items]

    converted = {part.field.name: part.to_python for part in parts if part.to_python is not None}

    def to_python(items: Any) -> tuple[Any, ...]:
        found = items or ()  # null where a query joined files that lack the column
        return tuple(
            inner(**item | {name: convert(item[name]) for name, convert in converted.items()}) for item in found
        )

    return pa.list_(pa.field("element", pa.struct([part.field for part in parts]), nullable=False)), to_arrow, to_python


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) == 1 and len(typing.get_args(hint)) == 2:
            return members[0], True
    return hint, False


def _unless_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(map(repr, choices))}")
        return value

    return checked


def _same(value: Any) -> Any:
    return value


def clean_text(text: Any) -> Any:
    """Text as it can be stored: U+FFFD for each lone surrogate. What is no text stays as it is."""
    if not isinstance(text, str) or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text
