"""What a run that was warm-started by a teacher says of it: that rules filtered it, and what became of its rows."""

from typing import Any, NamedTuple, get_args

from spar_core.records import ModelRole
from storage.catalog import open_catalog
from storage.home import Home

RULES_NOTE = (
    "warm_start.check_rules is on: where prompts hold checkable constraints, a checker filters what the teacher wrote "
    "for the warm start; self-play data stay free of it"
)


class Taught(NamedTuple):
    """What became of the rows of one role's examples. `left_out`: reasons and how many rows each took."""

    role: str
    examples: int
    rows: int
    left_out: dict[str, int]

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return self._asdict()

    def shown(self) -> str:
        """One line under the run's table."""
        lost = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"warm start by the teacher: {self.examples} examples for the {self.role}; left out: {lost or 'none'}"


def taught(home: Home, run_id: str) -> list[Taught]:
    """What the teacher's examples of a run came to, by role."""
    found = []
    with open_catalog(home) as catalog:
        for role in get_args(ModelRole):
            here = [run_id, f"warm_start_examples_{role}"]
            rows = catalog.rows("SELECT rows_in, rows_out FROM stages WHERE run_id = ? AND stage = ?", here)
            reasons = catalog.rows(
                "SELECT d.reason, count(*) AS n FROM drops d JOIN stages s USING (run_id, iteration, stage_key) "
                "WHERE d.run_id = ? AND s.stage = ? GROUP BY ALL ORDER BY n DESC, reason",
                here,
            )
            lost = {row["reason"]: row["n"] for row in reasons}
            found += [Taught(role, row["rows_out"] or 0, row["rows_in"] or 0, lost) for row in rows]
    return found
