"""What changed between two texts, word by word."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel

Change = Literal["same", "added", "removed"]
_WORD = re.compile(r"(?:\w+|[^\w\s])\s*|\s+")
_MOST_WORDS = 12_000  # of both texts where they differ; beyond, memory would grow with their product


class Piece(NamedTuple):
    """A run of text: in both, only in the second, or only in the first."""

    change: Change
    text: str


def word_diff(before: str, after: str) -> list[Piece]:
    """The pieces that make `before` (all but the added) and `after` (all but the removed), in order.

    As few words change as possible. Texts that differ over more than 12,000 words are shown one after the other.
    """
    old, new = _WORD.findall(before), _WORD.findall(after)
    start = _common(old, new)
    end = min(_common(old[::-1], new[::-1]), len(old) - start, len(new) - start)
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    pieces = [
        Piece("same", "".join(old[:start])),
        *_changed(middle_old, middle_new),
        Piece("same", "".join(old[len(old) - end :])),
    ]
    return list(_joined(pieces))


def changed_words(pieces: list[Piece]) -> int:
    """How many words were added or removed."""
    return sum(len(_WORD.findall(piece.text)) for piece in pieces if piece.change != "same")


def _common(first: list[str], second: list[str]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _changed(old: list[str], new: list[str]) -> Iterator[Piece]:
    if len(old) + len(new) > _MOST_WORDS:
        yield Piece("removed", "".join(old))
        yield Piece("added", "".join(new))
        return
    for step in Indel.opcodes(old, new):
        removed, added = "".join(old[step.src_start : step.src_end]), "".join(new[step.dest_start : step.dest_end])
        if step.tag == "equal":
            yield Piece("same", removed)
        else:
            yield Piece("removed", removed)
            yield Piece("added", added)


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbours of one kind as one; between two pieces that stay, what was removed before what was added."""
    removed, added = "", ""
    same = ""
    for change, text in pieces:
        if not text:
            continue
        if change == "same":
            if removed or added:
                yield from _change(removed, added)
                removed = added = ""
            same += text
            continue
        if same:
            yield Piece("same", same)
            same = ""
        if change == "removed":
            removed += text
        else:
            added += text
    yield from _change(removed, added)
    if same:
        yield Piece("same", same)


def _change(removed: str, added: str) -> Iterator[Piece]:
    if removed:
        yield Piece("removed", removed)
    if added:
        yield Piece("added", added)
