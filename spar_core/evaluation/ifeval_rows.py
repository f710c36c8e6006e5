"""Prompts and answers of benchmarks in IFEval's row format, each error with file and line.

Prompt rows: `key` (number or text), `prompt`, `instruction_id_list`, `kwargs` (parallel list; nulls in it
count as absent). Answer rows: `response` and `key`, or `response` and `prompt`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from spar_core.constraints import bound_kind
from spar_core.errors import DataError
from spar_core.evaluation.row_files import BAD_ROW, FileRow, LeftOut, read_rows
from spar_core.hashing import file_digest
from spar_core.records import Constraint, Drop

READING = "benchmark_prompts"
PROMPT_LEFT_OUT = "prompt_left_out"


@dataclass(frozen=True, slots=True)
class BenchmarkPrompt:
    """One prompt and its checkable instructions."""

    key: int | str
    text: str
    instructions: tuple[Constraint, ...]


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a benchmark file, in file order; `digest` is the file's SHA-256."""

    name: str
    prompts: tuple[BenchmarkPrompt, ...]
    digest: str
    by_key: Mapping[str, int] = field(repr=False)
    by_text: Mapping[str, tuple[int, ...]] = field(repr=False)
    left_out: tuple[Drop, ...] = ()
    """Bad rows of the file, where they were not an error."""
    without: frozenset[str] = frozenset()
    """Keys and texts of those rows, as far as they could be read: answers to them answer nothing."""
    lenient: bool = False
    """Instructions that no rule can read have no verdict, instead of being an error."""

    def chosen(self, prompts: Sequence[BenchmarkPrompt]) -> "PromptSet":
        """The set with these of its prompts alone."""
        by_text: dict[str, list[int]] = {}
        for position, prompt in enumerate(prompts):
            by_text.setdefault(prompt.text.strip(), []).append(position)
        return replace(
            self,
            prompts=tuple(prompts),
            by_key={str(prompt.key): position for position, prompt in enumerate(prompts)},
            by_text={text: tuple(positions) for text, positions in by_text.items()},
        )


class Answer(NamedTuple):
    """One response and the positions of the prompts it answers (several where prompts repeat)."""

    where: str
    positions: tuple[int, ...]
    response: str | None
    finish_reason: str | None = None
    """`length` = cut by the token limit; null where the file does not say."""


def read_prompts(path: Path, name: str = "ifeval", *, skip_bad: bool = False, lenient: bool = False) -> PromptSet:
    """Read a prompt file (JSON lines, plain or gzip).

    `skip_bad`: bad rows are left out (`left_out`) instead of an error. `lenient`: see `PromptSet`.

    Raises:
        DataError: naming file and line: wrong columns, duplicate key, unknown instruction, wrong argument; no good row.
    """
    prompts: list[BenchmarkPrompt] = []
    keys: set[str] = set()
    left_out, without = LeftOut(READING), set[str]()
    for row in read_rows(path, left_out if skip_bad else None):
        try:
            prompt = _prompt(row, lenient=lenient)
            if str(prompt.key) in keys:
                raise row.fail(f"key {prompt.key!r} was used before; keys must be unique")
        except DataError as error:
            if not skip_bad:
                raise
            left_out.add(row.where, BAD_ROW, str(error))
            without |= {str(row.values.get("key")), str(row.values.get("prompt", "")).strip()}
            continue
        keys.add(str(prompt.key))
        prompts.append(prompt)
    if not prompts:
        first = f"; the first bad row: {left_out.drops[0].detail}" if left_out.drops else ""
        raise DataError(
            f"{path}: no prompts; rows with key, prompt, instruction_id_list and kwargs are expected{first}"
        )
    gone = frozenset(without - keys - {prompt.text.strip() for prompt in prompts} - {"", "None"})
    whole = PromptSet(name, (), file_digest(path), {}, {}, tuple(left_out.drops), gone, lenient)
    return whole.chosen(prompts)


def read_answers(path: Path, prompts: PromptSet, left_out: LeftOut | None = None) -> Iterator[Answer]:
    """Answers of a file matched to their prompts, one in memory at a time.

    A row matches by `key` if it has one, else by the prompt's text without white space at the ends. A text that
    is no prompt of the set matches nothing (`positions` is empty): callers count and show it. `left_out` takes bad
    rows instead of an error, and so does it answers to prompts that were left out themselves.

    Raises:
        DataError: naming file and line: wrong columns, unknown key, second answer to a prompt, not UTF-8.
    """
    answered: dict[int, str] = {}
    for row in read_rows(path, left_out):
        if _named(row) in prompts.without:
            if left_out is not None:
                left_out.add(row.where, PROMPT_LEFT_OUT, f"{row.where}: answers a prompt that was left out")
            continue
        try:
            answer = Answer(row.where, _positions(row, prompts), _response(row), row.optional_text("finish_reason"))
            for position in answer.positions:
                if position in answered:
                    key, first = prompts.prompts[position].key, answered[position]
                    raise row.fail(f"second answer to prompt {key!r} (the first is in {first}); keep one")
        except DataError as error:
            if left_out is None:
                raise
            left_out.add(row.where, BAD_ROW, str(error))
            continue
        answered.update(dict.fromkeys(answer.positions, row.where))
        yield answer


def _named(row: FileRow) -> str:
    """What a row of answers calls its prompt."""
    key = row.values.get("key")
    return str(row.values.get("prompt", "")).strip() if key is None else str(key)


def _prompt(row: FileRow, *, lenient: bool = False) -> BenchmarkPrompt:
    key = row.values.get("key")
    if isinstance(key, bool) or not isinstance(key, (int, str)) or key == "":
        raise row.fail(f"column 'key' must be a whole number or text, not {key!r:.60}")
    kinds, arguments = row.values.get("instruction_id_list"), row.values.get("kwargs")
    return BenchmarkPrompt(key, row.text("prompt"), instructions_of(row, kinds, arguments, lenient=lenient))


def instructions_of(row: FileRow, kinds: object, arguments: object, *, lenient: bool) -> tuple[Constraint, ...]:
    """The instructions of a row from its parallel lists of ids and of objects with arguments.

    Raises:
        DataError: the lists have another form; an instruction no rule can read, unless `lenient`.
    """
    if not isinstance(kinds, list) or not kinds:
        raise row.fail(f"column 'instruction_id_list' must be a list of instruction ids, not {kinds!r:.60}")
    if not isinstance(arguments, list) or len(arguments) != len(kinds):
        raise row.fail(f"column 'kwargs' must be a list with one object for each of the {len(kinds)} instructions")
    pairs = zip(kinds, arguments, strict=True)
    return tuple(_instruction(row, kind, given, lenient=lenient) for kind, given in pairs)


def _instruction(row: FileRow, kind: object, given: object, *, lenient: bool) -> Constraint:
    if not isinstance(kind, str) or not (given is None or isinstance(given, dict)):
        raise row.fail(f"instruction {kind!r:.60} with arguments {given!r:.60}; an id and an object are expected")
    present = {name: value for name, value in (given or {}).items() if value is not None}
    instruction = Constraint.create(kind, **present)
    try:
        bound_kind(instruction)
    except DataError as error:
        if not lenient:
            raise row.fail(str(error)) from error
    return instruction


def _positions(row: FileRow, prompts: PromptSet) -> tuple[int, ...]:
    key = row.values.get("key")
    if key is None:
        if row.values.get("prompt") is None:
            raise row.fail(f"a row needs 'response' and either 'key' or 'prompt'; this one has {sorted(row.values)}")
        return prompts.by_text.get(row.text("prompt").strip(), ())
    position = prompts.by_key.get(str(key))
    if position is None:
        raise row.fail(f"key {key!r:.60} is not in the prompt file; give the prompts these answers were made for")
    return (position,)


def _response(row: FileRow) -> str | None:
    if "response" not in row.values:
        raise row.fail(f"column 'response' is missing; the row has {sorted(row.values)}")
    return row.optional_text("response")
