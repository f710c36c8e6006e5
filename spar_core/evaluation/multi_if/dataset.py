"""The chats of Multi-IF: a row per chat with `turn_1_prompt`, `turn_1_instruction_id_list`, `turn_1_kwargs` and so on.

Published as one CSV file. Its columns hold JSON: a prompt is a chat message, arguments are a list of objects that are
JSON texts themselves. A turn lists the instructions of the earlier turns again. Some chats end after two turns.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spar_core.constraints.multilingual import multi_if
from spar_core.errors import DataError
from spar_core.evaluation.ifeval_rows import BenchmarkPrompt, PromptSet, instructions_of
from spar_core.evaluation.row_files import FileRow, read_rows
from spar_core.hashing import digest

NAME = "multi_if"
LICENCE = "Multi-IF data: CC BY-NC 2.0, Meta (facebook/Multi-IF)"
LANGUAGES = {
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}
TURNS = 3
PUBLISHED_TURNS = (4501, 4501, 4445)
"""How many chats of the published data have a first, second and third turn."""
_NO_TURN = (None, "", "None")
_COLUMN_LIMIT = 2**24


@dataclass(frozen=True, slots=True)
class Chats:
    """The turns of all chats, those of one chat together and in order. `languages`: of each chat, by its name."""

    prompts: PromptSet
    languages: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The chats."""
        return tuple(self.languages)

    @property
    def has_published_size(self) -> bool:
        """Whether it has as many turns of each kind as the published data; their content's digest is not known here."""
        turns = [turn_of(str(prompt.key)) for prompt in self.prompts.prompts]
        return tuple(turns.count(turn) for turn in range(1, TURNS + 1)) == PUBLISHED_TURNS

    def chosen(self, names: Sequence[str]) -> "Chats":
        """These of the chats."""
        kept = set(names)
        turns = [prompt for prompt in self.prompts.prompts if chat_of(str(prompt.key)) in kept]
        return Chats(self.prompts.chosen(turns), {name: self.languages[name] for name in names})

    def of(self, languages: Sequence[str], name: str) -> "Chats":
        """The chats in these languages (codes), as a set of that name.

        Raises:
            DataError: there are none.
        """
        wanted = {LANGUAGES[code] for code in languages}
        found = self.chosen([chat for chat, language in self.languages.items() if language in wanted])
        if not found.languages:
            raise DataError(f"{NAME}: the data has no chat in {', '.join(sorted(wanted))}")
        return replace(found, prompts=replace(found.prompts, name=name))


def turn_key(chat: str, turn: int) -> str:
    """The item of a turn (1, 2, ...) of a chat."""
    return f"{chat}/{turn}"


def chat_of(item: str) -> str:
    """The chat that an item is a turn of."""
    return item.rpartition("/")[0]


def turn_of(item: str) -> int:
    """Which turn an item is."""
    return int(item.rpartition("/")[2])


def read_chats(path: Path) -> Chats:
    """Read the chats of a CSV file, or of JSON lines with the same columns.

    Raises:
        DataError: naming file and line: wrong columns, a turn after a missing one, a chat read before; no chat.
    """
    turns: list[BenchmarkPrompt] = []
    languages: dict[str, str] = {}
    for row in _rows(path):
        chat = row.text("key")
        if chat in languages:
            raise row.fail(f"chat {chat!r} was read before; keys must be unique")
        languages[chat] = row.text("language")
        turns += _turns(row, chat)
    if not turns:
        raise DataError(f"{path}: no chats; rows with key, language and turn_1_prompt are expected")
    content = digest(
        [[t.key, languages[chat_of(str(t.key))], t.text, [[i.kind, i.kwargs] for i in t.instructions]] for t in turns]
    )
    return Chats(PromptSet(NAME, (), content, {}, {}, lenient=True).chosen(turns), languages)


def _rows(path: Path) -> Iterator[FileRow]:
    if path.suffix != ".csv":
        yield from read_rows(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            limit = csv.field_size_limit(_COLUMN_LIMIT)
            try:
                reader = csv.DictReader(stream, strict=True)
                for values in reader:
                    yield FileRow(f"{path}, line {reader.line_num}", values, reader.line_num)
            finally:
                csv.field_size_limit(limit)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as CSV in UTF-8 ({error})") from error


def _turns(row: FileRow, chat: str) -> Iterator[BenchmarkPrompt]:
    present = [row.values.get(f"turn_{turn}_prompt") not in _NO_TURN for turn in range(1, TURNS + 1)]
    count = sum(present)
    if count == 0 or present != sorted(present, reverse=True):
        raise row.fail("a chat needs turn_1_prompt, and turns after it without a gap")
    for turn in range(1, count + 1):
        kinds = _parsed(row, f"turn_{turn}_instruction_id_list")
        arguments = _parsed(row, f"turn_{turn}_kwargs")
        given = [_object(row, turn, each) for each in arguments] if isinstance(arguments, list) else arguments
        named = [_rule_of(kind) for kind in kinds] if isinstance(kinds, list) else kinds
        yield BenchmarkPrompt(turn_key(chat, turn), _text(row, turn), instructions_of(row, named, given, lenient=True))


def _text(row: FileRow, turn: int) -> str:
    message = _parsed(row, f"turn_{turn}_prompt")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise row.fail(f"column 'turn_{turn}_prompt' must be a chat message with 'content', not {message!r:.60}")
    return text


def _parsed(row: FileRow, column: str) -> Any:
    """A column's value, out of JSON where it is text."""
    value = row.values.get(column)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise row.fail(f"column {column!r} is not JSON: {value!r:.60}") from error


def _object(row: FileRow, turn: int, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise row.fail(f"column 'turn_{turn}_kwargs' holds an entry that is not JSON: {value!r:.60}") from error


def _rule_of(kind: Any) -> Any:
    """The rule behind a published id: IFEval's, but where Multi-IF has another."""
    return f"{multi_if.PREFIX}:{kind}" if kind in multi_if.KINDS else kind
