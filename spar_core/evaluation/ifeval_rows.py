"""Prompts and answers of benchmarks in IFEval's row format, each error with file and line.

Prompt rows: `key` (number or text), `prompt`, `instruction_id_list`, `kwargs` (parallel list; nulls in it
count as absent). Answer rows: `response` and `key`, or `response` and `prompt`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from spar_core.constraints import bound_kind
from spar_core.errors import DataError
from spar_core.evaluation.row_files import FileRow, read_rows
from spar_core.hashing import file_digest
from spar_core.records import Constraint, Prompt


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

    def records(self) -> tuple[Prompt, ...]:
        """The prompts as records, for a model to answer."""
        return tuple(Prompt.create(p.text, p.instructions, split="test", source=self.name) for p in self.prompts)


class Answer(NamedTuple):
    """One response and the positions of the prompts it answers (several where prompts repeat)."""

    where: str
    positions: tuple[int, ...]
    response: str | None


def read_prompts(path: Path, name: str = "ifeval") -> PromptSet:
    """Read a prompt file (JSON lines, plain or gzip).

    Raises:
        DataError: naming file and line: wrong columns, duplicate key, unknown instruction, wrong argument.
    """
    prompts: list[BenchmarkPrompt] = []
    by_key: dict[str, int] = {}
    by_text: dict[str, list[int]] = {}
    for row in read_rows(path):
        prompt = _prompt(row)
        if by_key.setdefault(str(prompt.key), len(prompts)) != len(prompts):
            raise row.fail(f"key {prompt.key!r} was used before; keys must be unique")
        by_text.setdefault(prompt.text.strip(), []).append(len(prompts))
        prompts.append(prompt)
    if not prompts:
        raise DataError(f"{path}: no prompts; rows with key, prompt, instruction_id_list and kwargs are expected")
    grouped = {text: tuple(positions) for text, positions in by_text.items()}
    return PromptSet(name, tuple(prompts), file_digest(path), by_key, grouped)


def read_answers(path: Path, prompts: PromptSet) -> Iterator[Answer]:
    """Answers of a file matched to their prompts, one in memory at a time.

    A row matches by `key` if it has one, else by the prompt's text without white space at the ends. A text that
    is no prompt of the set matches nothing (`positions` is empty): callers count and show it.

    Raises:
        DataError: naming file and line: wrong columns, unknown key, second answer to a prompt, not UTF-8.
    """
    answered: dict[int, str] = {}
    for row in read_rows(path):
        answer = Answer(row.where, _positions(row, prompts), _response(row))
        for position in answer.positions:
            first = answered.setdefault(position, row.where)
            if first is not row.where:
                key = prompts.prompts[position].key
                raise row.fail(f"second answer to prompt {key!r} (the first is in {first}); keep one")
        yield answer


def _prompt(row: FileRow) -> BenchmarkPrompt:
    key = row.values.get("key")
    if isinstance(key, bool) or not isinstance(key, (int, str)) or key == "":
        raise row.fail(f"column 'key' must be a whole number or text, not {key!r:.60}")
    text = row.text("prompt")
    kinds, arguments = row.values.get("instruction_id_list"), row.values.get("kwargs")
    if not isinstance(kinds, list) or not kinds:
        raise row.fail(f"column 'instruction_id_list' must be a list of instruction ids, not {kinds!r:.60}")
    if not isinstance(arguments, list) or len(arguments) != len(kinds):
        raise row.fail(f"column 'kwargs' must be a list with one object for each of the {len(kinds)} instructions")
    instructions = tuple(_instruction(row, kind, given) for kind, given in zip(kinds, arguments, strict=True))
    return BenchmarkPrompt(key, text, instructions)


def _instruction(row: FileRow, kind: object, given: object) -> Constraint:
    if not isinstance(kind, str) or not (given is None or isinstance(given, dict)):
        raise row.fail(f"instruction {kind!r:.60} with arguments {given!r:.60}; an id and an object are expected")
    present = {name: value for name, value in (given or {}).items() if value is not None}
    instruction = Constraint.create(kind, **present)
    try:
        bound_kind(instruction)
    except DataError as error:
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
