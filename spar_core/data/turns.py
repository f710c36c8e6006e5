"""Turns of chats as data sets write them: `role` and `content`, or ShareGPT's `from` and `value`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from spar_core.errors import DataError
from spar_core.records import Message, Role

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
_FORMS: Final = (("role", "content"), ("from", "value"))


def is_sharegpt(turns: Any) -> bool:
    """Whether a list of turns is written as ShareGPT's."""
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], dict) and "from" in turns[0]


def read_turns(turns: Any) -> tuple[Message, ...]:
    """The turns of a list, in order.

    Raises:
        DataError: it is no list of turns, or a turn is of a role or content that cannot be trained on.
    """
    if not isinstance(turns, list) or not turns:
        raise DataError(f"a list of turns {{role, content}} or {{from, value}} is expected, not {turns!r:.60}")
    return tuple(read_turn(turn, number) for number, turn in enumerate(turns, 1))


def read_turn(turn: Any, number: int = 1) -> Message:
    """One turn.

    Raises:
        DataError: as `read_turns`.
    """
    given = turn if isinstance(turn, dict) else {}
    form = next(((role, text) for role, text in _FORMS if role in given and text in given), None)
    if form is None:
        raise DataError(f"turn {number} needs role and content, or from and value; it is {turn!r:.80}")
    said = given[form[0]]
    role = _ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        raise DataError(f"turn {number} is by {said!r}; known are {', '.join(_ROLES)} (tools are not)")
    return Message(role, _text(given[form[1]], number))


def check_order(turns: Sequence[Message]) -> None:
    """See that the turns are a chat: system text at most first, then user and assistant by turns, neither blank.

    Chat templates refuse others, or render them as what they are not.

    Raises:
        DataError: they are not; names the first turn that is wrong.
    """
    spoken = turns[1:] if turns and turns[0].role == "system" else turns
    first = len(turns) - len(spoken) + 1
    for index, turn in enumerate(spoken):
        expected = "user" if index % 2 == 0 else "assistant"
        if turn.role != expected:
            raise DataError(f"turn {first + index} must be by {expected}, not {turn.role}: they take turns, user first")
        if not turn.content.strip():
            raise DataError(f"turn {first + index} ({turn.role}) is blank")


def _text(content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        if parts and all(isinstance(part, str) for part in parts):
            return "".join(map(str, parts))
    raise DataError(f"the content of turn {number} must be text, not {content!r:.60}")
