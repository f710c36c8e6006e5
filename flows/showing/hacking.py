"""What a run says of rule hacking: held-out answers that meet every rule and do nothing."""

from typing import Any, NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.measures import HACK_RATE
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
    """Of every measured iteration of a run that counts hacks (`flows.wiring.measuring.counts_hacks`)."""
    with open_catalog(home) as catalog:
        rows = catalog.rows(
            "SELECT iteration, metric, value, ci_low, ci_high, n FROM eval_scores "
            "WHERE run_id = ? AND benchmark = 'self_play' AND role = 'actor' AND metric IN ('accuracy', ?) "
            "AND iteration IS NOT NULL ORDER BY iteration",
            [run_id, HACK_RATE],
        )
    found: dict[int, Estimate | None] = dict.fromkeys(row["iteration"] for row in rows)
    for row in rows:
        if row["metric"] == HACK_RATE:
            found[row["iteration"]] = Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])
    return [HackRate(iteration, share) for iteration, share in found.items()]
