"""What a run that was warm-started by a teacher or by rules says of it: where rule truth comes in, and its rows."""

from itertools import product
from typing import Any, NamedTuple, get_args

from spar_core.config.run import RunConfig
from spar_core.records import ModelRole
from storage.catalog import open_catalog
from storage.home import Home

RULES_NOTE = (
    "warm_start.check_rules is on: where prompts hold checkable constraints, a checker filters what the teacher wrote "
    "for the warm start; self-play data stay free of it"
)
TAUGHT_BY_RULES_NOTE = (
    "warm_start.source is rules: the warm start learns what a checker says of the base actor's answers, and how code "
    "mends them. Rule truth enters the models by it; votes of self-play stay free of it unless judging.anchor says so"
)
_STAGES = {"teacher": "warm_start_examples", "rules": "rule_examples"}


def rule_notes(config: RunConfig) -> list[str]:
    """Where the configuration lets rule truth into training data but for `judging.anchor`, to be said before a run."""
    warm, notes = config.warm_start, []
    if warm.source == "rules":
        notes.append(TAUGHT_BY_RULES_NOTE)
    if warm.teacher is not None and warm.check_rules:
        notes.append(RULES_NOTE)
    notes += [f"method.pairs.method is {config.method.pairs.method}: {note}" for note in config.rules_of_method()]
    return notes


class Taught(NamedTuple):
    """What became of the rows of one role's examples. `teacher`: `teacher` or `rules`, whose rows hold a teacher's
    where there is one. `left_out`: reasons and how many rows each took."""

    teacher: str
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
        who = "rules" if self.teacher == "rules" else "the teacher"
        return f"warm start by {who}: {self.examples} examples for the {self.role}; left out: {lost or 'none'}"


def taught(home: Home, run_id: str) -> list[Taught]:
    """What the examples of a run came to, by teacher and role."""
    found = []
    with open_catalog(home) as catalog:
        for teacher, role in product(_STAGES, get_args(ModelRole)):
            here = [run_id, f"{_STAGES[teacher]}_{role}"]
            rows = catalog.rows("SELECT rows_in, rows_out FROM stages WHERE run_id = ? AND stage = ?", here)
            reasons = catalog.rows(
                "SELECT d.reason, count(*) AS n FROM drops d JOIN stages s USING (run_id, iteration, stage_key) "
                "WHERE d.run_id = ? AND s.stage = ? GROUP BY ALL ORDER BY n DESC, reason",
                here,
            )
            lost = {row["reason"]: row["n"] for row in reasons}
            found += [Taught(teacher, role, row["rows_out"] or 0, row["rows_in"] or 0, lost) for row in rows]
    return found
