"""The usual shapes of training rows, told by their columns and brought into one form.

    messages            {"messages": [{role, content}, ...]}
    ShareGPT            {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}], "system"?}
    Alpaca              {"instruction", "input"?, "output", "system"?, "history"?}
    prompt and answer   {"prompt" (text or turns), "response" or "completion" or "answer" (text or turns)}
    pairs               {"prompt" or "messages" or "instruction", "chosen", "rejected"}: answers as text, as one
                        message, as their turns, or as whole chats that begin with the prompt (then it may be absent);
                        "chosen_cut"? and "rejected_cut"?: true where the text ended at a token limit

So TRL's standard and conversational rows, the rows of LLaMA-Factory, and those of the SPaR release are all read.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from spar_core.data.turns import check_order, is_sharegpt, read_turn, read_turns
from spar_core.errors import DataError
from spar_core.records import Message

_CHATS: Final = ("messages", "conversations", "conversation")
_PROMPTS: Final = ("prompt", "instruction", "question", "query", "input")
_ANSWERS: Final = ("completion", "response", "output", "answer")
_CUT: Final = ("chosen_cut", "rejected_cut")
COLUMNS: Final = frozenset(
    (*_CHATS, *_PROMPTS, *_ANSWERS, "chosen", "rejected", *_CUT, "system", "history", "label", "kind", "constraints")
)
"""Every column that is looked at."""
_EXPECTED: Final = (
    "expected are messages or conversations, prompt with response or completion, instruction with output, or a prompt "
    "with chosen and rejected (docs/data.md)"
)


class ShapedRow(NamedTuple):
    """A row of any shape. `prompt` ends with a user's turn."""

    shape: str
    prompt: tuple[Message, ...]
    answer: str | None
    """The answer to it, the better one of a pair; null where the row only asks."""
    rejected: str | None = None
    """The worse answer of a pair; null in all other rows."""
    cut: tuple[bool, bool] = (False, False)
    """Whether the answers of a pair, the better first, ended at a token limit."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole chat."""
        return self.prompt if self.answer is None else (*self.prompt, Message("assistant", self.answer))


def shaped(values: Mapping[str, Any]) -> ShapedRow:
    """A row in the one form.

    Raises:
        DataError: it is of no known shape, or not what its shape asks for; says what was found.
    """
    row = {name: value for name, value in values.items() if value is not None}
    if isinstance(row.get("label"), bool):
        raise DataError("an answer with a label true or false is no pair and no example: pair the good with the bad")
    if "chosen" in row or "rejected" in row:
        found = _pair(row)._replace(cut=_cut(row))
    elif any(name in row for name in _CHATS):
        found = _chat(row)
    else:
        found = _question(row)
    check_order(found.messages)
    if found.prompt[-1].role != "user":
        raise DataError("the prompt must end with the user's turn")
    if found.rejected is not None and not found.rejected.strip():
        raise DataError("the rejected answer is blank")
    return found


def _chat(row: Mapping[str, Any]) -> ShapedRow:
    name = _first(row, _CHATS)
    turns = _with_system(row, read_turns(row[name]))
    shape = "ShareGPT" if is_sharegpt(row[name]) else "messages"
    if turns[-1].role != "assistant":
        return ShapedRow(shape, turns, None)
    if len(turns) == 1:
        raise DataError(f"{name} needs at least two turns, the last by assistant")
    return ShapedRow(shape, turns[:-1], turns[-1].content)


def _question(row: Mapping[str, Any]) -> ShapedRow:
    name = _first(row, _PROMPTS)
    prompt = _prompt(row, name)
    answer_name = next((answer for answer in _ANSWERS if answer in row), None)
    if answer_name is None:
        return ShapedRow(name, prompt, None)
    shape = "Alpaca" if (name, answer_name) == ("instruction", "output") else f"{name}/{answer_name}"
    before, answer = _answer(row[answer_name], answer_name)
    if before:
        raise DataError(f"column {answer_name!r} must be the answer alone; it holds {len(before) + 1} turns")
    return ShapedRow(shape, prompt, answer)


def _pair(row: Mapping[str, Any]) -> ShapedRow:
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing:
        raise DataError(f"a pair needs both chosen and rejected; {missing[0]} is missing")
    (before, chosen), (other, rejected) = (_answer(row[name], name) for name in ("chosen", "rejected"))
    if before != other:
        raise DataError("chosen and rejected begin with different prompts")
    if before:  # whole chats: what else the row has tells the same prompt again
        return ShapedRow("chosen/rejected", _with_system(row, before), chosen, rejected)
    chat = next((name for name in _CHATS if name in row), None)
    if chat is not None:
        return ShapedRow(f"{chat}/chosen/rejected", _with_system(row, read_turns(row[chat])), chosen, rejected)
    name = next((name for name in _PROMPTS if name in row), None)
    if name is None:
        raise DataError("a pair needs its prompt: a column prompt or messages, or whole chats as chosen and rejected")
    return ShapedRow(f"{name}/chosen/rejected", _prompt(row, name), chosen, rejected)


def _cut(row: Mapping[str, Any]) -> tuple[bool, bool]:
    for name in _CUT:
        if not isinstance(row.get(name, False), bool):
            raise DataError(f"column {name!r} must be true or false, not {row[name]!r}")
    chosen, rejected = (row.get(name, False) for name in _CUT)
    return chosen, rejected


def _answer(value: Any, name: str) -> tuple[tuple[Message, ...], str]:
    """The turns before the answer, where the value has them, and its text."""
    if isinstance(value, str):
        return (), value
    if isinstance(value, list):
        turns = read_turns(value)
    elif isinstance(value, dict):
        turns = (read_turn(value),)
    else:
        raise DataError(f"column {name!r} must be text or turns, not {type(value).__name__}")
    if turns[-1].role != "assistant":
        raise DataError(f"column {name!r} must end with the assistant's turn, not {turns[-1].role}'s")
    return turns[:-1], turns[-1].content


def _prompt(row: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    value = row[name]
    if isinstance(value, list):
        return _with_system(row, read_turns(value))
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"column {name!r} must be text that is not blank, or turns; it is {value!r:.60}")
    addition = row.get("input", "") if name == "instruction" else ""
    if not isinstance(addition, str):
        raise DataError(f"column 'input' must be text, not {type(addition).__name__}")
    text = f"{value}\n{addition}" if addition.strip() else value
    return _with_system(row, (*_history(row), Message("user", text)))


def _history(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """LLaMA-Factory's earlier turns: [[question, answer], ...]."""
    given = row.get("history", [])
    wellformed = isinstance(given, list) and all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn) for turn in given
    )
    if not wellformed:
        raise DataError("column 'history' must be a list of [question, answer] texts")
    return tuple(turn for asked, said in given for turn in (Message("user", asked), Message("assistant", said)))


def _with_system(row: Mapping[str, Any], turns: tuple[Message, ...]) -> tuple[Message, ...]:
    system = row.get("system", "")
    if not isinstance(system, str):
        raise DataError(f"column 'system' must be text, not {type(system).__name__}")
    if not system.strip() or turns[0].role == "system":
        return _without_blank_system(turns)
    return (Message("system", system), *turns)


def _without_blank_system(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Exports write an empty system turn where there is none."""
    is_blank = len(turns) > 1 and turns[0].role == "system" and not turns[0].content.strip()
    return turns[1:] if is_blank else turns


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in row), None)
    if found is None:
        raise DataError(f"the row has {sorted(row)}; {_EXPECTED}")
    return found
