"""Seeded choices that depend on ids alone: a record's rank is a hash, the lowest ranks win.

Unlike drawing from a list, this is the same whatever the order of the records, and adding records disturbs no
other choice.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from spar_core.hashing import derive_seed
from spar_core.records import Drop

T = TypeVar("T")


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
    if limit is None or len(rows) <= limit:
        return list(rows), []
    places = [(*rank(run_seed, f"{stage}.cap", rank_id(row)), row_id(row)) for row in rows]
    last_kept = sorted(places)[limit - 1]
    kept = [row for row, place in zip(rows, places, strict=True) if place <= last_kept]
    over = [place[-1] for place in places if place > last_kept]
    return kept, [Drop(stage, identity, "over_cap", f"cap {limit}") for identity in over]
