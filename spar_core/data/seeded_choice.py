"""Seeded choices that depend on ids alone: a record's rank is a hash, the lowest ranks win.

Unlike drawing from a list, this is the same whatever the order of the records, and adding records disturbs no
other choice.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from spar_core.hashing import derive_seed
from spar_core.records import Drop

T = TypeVar("T")
_Place: TypeAlias = tuple[int, str, str]


def rank(run_seed: int, purpose: str, record_id: str) -> tuple[int, str]:
    """Place of a record in the seeded order of this purpose; the id decides the rare equal hashes."""
    return derive_seed(run_seed, purpose, record_id), record_id


def cap(
    rows: Sequence[T],
    limit: int | None,
    *,
    run_seed: int,
    stage: str,
    row_id: Callable[[T], str],
    rank_id: Callable[[T], str],
) -> tuple[list[T], list[Drop]]:
    """Keep `limit` rows by seeded choice, in their given order; the rest are drops `over_cap`.

    Args:
        rows: what to choose from.
        limit: rows kept at most; None keeps all.
        run_seed: the run's seed.
        stage: names the drops and the choice.
        row_id: unique id of a row, for its drop.
        rank_id: id that decides the row's place in the choice; rows of equal place stand in the order of `row_id`.
    """
    capping = Cap(limit, run_seed, stage)
    for row in rows:
        capping.count(row_id(row), rank_id(row))
    return [row for row in rows if capping.keeps(row_id(row), rank_id(row))], list(capping.drops())


class Cap:
    """The same where the rows are not held: all are counted first, then each is asked for again."""

    def __init__(self, limit: int | None, run_seed: int, stage: str) -> None:
        self.limit = limit
        self._run_seed = run_seed
        self._stage = stage
        self._places: list[_Place] = []
        self._last: _Place | None = None

    def count(self, row_id: str, rank_id: str) -> None:
        """One of the rows to choose from."""
        if self.limit is not None:
            self._places.append(self._place(row_id, rank_id))
            self._last = None

    def keeps(self, row_id: str, rank_id: str) -> bool:
        """Whether a row stays, once all were counted."""
        last = self._last_kept()
        return last is None or self._place(row_id, rank_id) <= last

    def drops(self) -> Iterator[Drop]:
        """Those that do not stay, in the order in which they were counted."""
        last = self._last_kept()
        for place in self._places:
            if last is not None and place > last:
                yield Drop(self._stage, place[-1], "over_cap", f"cap {self.limit}")

    def _place(self, row_id: str, rank_id: str) -> _Place:
        return (*rank(self._run_seed, f"{self._stage}.cap", rank_id), row_id)

    def _last_kept(self) -> _Place | None:
        if self._last is None and self.limit is not None and len(self._places) > self.limit:
            self._last = sorted(self._places)[self.limit - 1]
        return self._last
