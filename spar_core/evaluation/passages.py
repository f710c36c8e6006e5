"""Plain text in passages, for measuring how likely a model finds it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from spar_core.errors import DataError

DEFAULT_COUNT: Final = 120
_CHARACTERS = 1500  # about 375 tokens
_LEAST = 200


def shipped_text() -> str:
    """A quarter of a million words of English prose that every Python brings along: its own manual (`pydoc`)."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def read_text(path: Path) -> str:
    """A user's text file.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: give a text file in UTF-8 ({error})") from error


def passages(text: str, limit: int | None = None) -> list[str]:
    """Whole paragraphs in passages of about 1,500 characters, evenly chosen where there are more than `limit`.

    A longer paragraph is cut; a passage under 200 characters, or one that was there before, is left out.

    Raises:
        DataError: nothing is left.
    """
    found = list(dict.fromkeys(passage for passage in _gathered(text) if len(passage) >= _LEAST))
    if not found:
        raise DataError(f"the text holds no passage of at least {_LEAST} characters; give a longer one")
    return _evenly(found, limit or DEFAULT_COUNT)


def _gathered(text: str) -> Iterator[str]:
    current = ""
    for paragraph in text.split("\n\n"):
        if current and len(current) + len(paragraph) > _CHARACTERS:
            yield current
            current = ""
        current = f"{current}\n\n{paragraph}".strip("\n")
        while len(current) > _CHARACTERS:
            yield current[:_CHARACTERS]
            current = current[_CHARACTERS:]
    yield current


def _evenly(found: Sequence[str], count: int) -> list[str]:
    if len(found) <= count:
        return list(found)
    return [found[number * len(found) // count] for number in range(count)]
