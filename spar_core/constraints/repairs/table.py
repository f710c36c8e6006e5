"""Which kinds say what an answer has, and which have a least edit: one entry per kind."""

from collections.abc import Callable
from enum import IntEnum
from random import Random
from typing import NamedTuple

from spar_core.constraints.kind import Arguments
from spar_core.constraints.text_view import TextView
from spar_core.errors import DataError

Finding = Callable[[TextView, Arguments], str]
Edit = Callable[[TextView, Arguments, Random], str | None]


class Stage(IntEnum):
    """When a repair has its turn: what is said before how long it is, the wrapping last."""

    CONTENT = 1
    LENGTH = 2
    LAYOUT = 3
    ENDS = 4
    CASE = 5
    WRAPPING = 6


class Entry(NamedTuple):
    """What one kind brings: words for what a failing answer has, and its edit (None where no edit suffices)."""

    finding: Finding
    edit: Edit | None
    stage: Stage


_entries: dict[str, Entry] = {}


def register(kind_id: str, finding: Finding, edit: Edit | None = None, stage: Stage = Stage.CONTENT) -> None:
    """Say how answers are described and repaired that fail a kind.

    Both functions are called with failing, not blank texts alone, and with arguments that the kind has bound. An edit
    may draw among several phrasings and places: it is called again, with the same generator, where its outcome fails
    the check or breaks something else.

    Raises:
        DataError: the kind has an entry.
    """
    if kind_id in _entries:
        raise DataError(f"the kind {kind_id!r} has a repair already; give the plug-in's kind an id of its own")
    _entries[kind_id] = Entry(finding, edit, stage)


def entry(kind_id: str) -> Entry | None:
    """What a kind brings, if anything."""
    return _entries.get(kind_id)
