"""What a run with `judging.anchor` says of rule hacking: held-out answers that meet every rule and do nothing."""

from typing import Any, NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.hack_rate import Said, hack_rate
from spar_core.records import Constraint, Prompt
from storage.catalog import open_catalog
from storage.home import Home


class HackRate(NamedTuple):
    """An iteration's share of answers that trip a wire, among those that meet every rule; None where none does."""

    iteration: int
    share: Estimate | None

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return {"iteration": self.iteration, "hack_rate": None if self.share is None else self.share.plain()}

    def shown(self) -> str:
        """One line under the run's table."""
        if self.share is None:
            return f"hack rate, iteration {self.iteration}: no held-out answer meets every rule"
        of = f"{self.share.n} answers that meet the rules"
        return f"hack rate, iteration {self.iteration}: {self.share.shown()} % of {of}"


def hack_rates(home: Home, run_id: str) -> list[HackRate]:
    """Of the held-out answers every iteration's actor was measured on; clusters are prompts."""
    with open_catalog(home) as catalog:
        asked = catalog.rows("SELECT DISTINCT prompt_id, text, constraints, source FROM eval_prompts", [])
        answers = catalog.rows(
            "SELECT DISTINCT iteration, response_id, prompt_id, text FROM eval_responses "
            "WHERE run_id = ? AND iteration IS NOT NULL",
            [run_id],
        )
    prompts = {
        row["prompt_id"]: Prompt(
            row["prompt_id"],
            row["text"],
            tuple(Constraint(**constraint) for constraint in row["constraints"] or ()),
            source=row["source"],
        )
        for row in asked
    }
    found: dict[int, list[Said]] = {row["iteration"]: [] for row in answers}
    for row in answers:
        found[row["iteration"]].append(Said(row["response_id"], row["prompt_id"], row["text"]))
    return [HackRate(iteration, hack_rate(prompts, said)) for iteration, said in sorted(found.items())]
