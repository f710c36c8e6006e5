"""A quota filled by rank: the best-placed candidates stay, at most `size` are held at any time."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spar_core.records import RefinerExample

Place: TypeAlias = tuple[bool, float, int, str]
"""(unanimous, distance from the vote boundary where `order` asks for it, seeded rank, record id): lower is better."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An example that may enter the training data.

    `place` orders candidates of one quota (lower stays); of candidates with one `request_digest` only one may enter.
    """

    record_id: str
    place: Place
    request_digest: str
    example: RefinerExample


class Quota:
    """Keeps the `size` candidates of lowest place, whatever the order they come in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[Candidate] = []

    def offer(self, candidate: Candidate) -> Candidate | None:
        """Take a candidate in; returns the one that has to go (maybe this one) once the quota is full."""
        insort(self._held, candidate, key=lambda held: held.place)
        return self._held.pop() if len(self._held) > self._size else None

    def chosen(self) -> list[Candidate]:
        """The candidates held, lowest place first."""
        return list(self._held)


def surplus(first: Sequence[Candidate], second: Sequence[Candidate]) -> list[Candidate]:
    """What the larger of two groups has to give up, highest place first, so that both are equally large."""
    larger, smaller = (first, second) if len(first) > len(second) else (second, first)
    return sorted(larger, key=lambda candidate: candidate.place)[len(smaller) :]
