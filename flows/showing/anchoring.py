"""What a run with `judging.anchor` says of itself: rule truth is in its self-play data, and how much."""

from typing import Any, NamedTuple

from storage.catalog import open_catalog
from storage.home import Home


def warning(anchor: str) -> str:
    """What is said before such a run starts."""
    return (
        f"judging.anchor is `{anchor}`: a checker decides in place of the refiner's votes where it can, "
        "so rule truth enters this run's self-play data"
    )


class Anchoring(NamedTuple):
    """Judgements of a run that a checker decided, of all it made: on answers, and on tree nodes."""

    judgements: int
    judgements_in_all: int
    nodes: int
    nodes_in_all: int
    by: str = "verifier"

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return self._asdict()

    def shown(self) -> str:
        """One line under the run's table."""
        return (
            f"judging.anchor = {self.by}: rule truth is in the self-play data; it decided {self.judgements} of "
            f"{self.judgements_in_all} judgements of answers and {self.nodes} of {self.nodes_in_all} of tree nodes "
            "(column `anchored`)."
        )


def anchoring(home: Home, run_id: str, by: str = "verifier") -> Anchoring:
    """Counted in the catalogue."""
    count = "SELECT count(*) FILTER (anchored <> 'no') AS decided, count(*) AS in_all FROM {} "
    count += "WHERE run_id = ? AND iteration > 0"  # a teacher's judgements, in iteration 0, are none of self-play's
    with open_catalog(home) as catalog:
        (answers,) = catalog.rows(count.format("judgements"), [run_id])
        (nodes,) = catalog.rows(count.format("tree_nodes") + " AND depth > 0 AND value IS NOT NULL", [run_id])
    return Anchoring(answers["decided"], answers["in_all"], nodes["decided"], nodes["in_all"], by)
