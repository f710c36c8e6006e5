"""The table a run ends with: one row per iteration, in the terminal, in the Prefect UI and as JSON."""

from typing import Any, NamedTuple

from flows.showing.score_rows import ScoreRow
from spar_core.evaluation.estimate import Estimate
from storage.catalog import open_catalog
from storage.home import Home

_METRICS = {
    "actor_accuracy": "accuracy",
    "actor_accuracy_iid": "accuracy/iid",
    "actor_accuracy_heldout": "accuracy/heldout",
    **{
        metric: metric
        for metric in (
            "judge_precision",
            "judge_recall",
            "judge_balanced_accuracy",
            "judge_recall_own",
            "judge_balanced_accuracy_own",
            "judge_balanced_accuracy_rewrites",
            "judge_approved_rewrites",
            "judge_approved_right_rewrites",
            "judge_calibration_error",
            "self_evaluation_bias",
        )
    },
    "fix_rate": "fix_rate",
    "fix_rate_in_use": "fix_rate_in_use",
    "pair_truth": "pair_truth",
    "pair_ordered": "pair_ordered",
    "hack_rate": "hack_rate",
}


class IterationRow(NamedTuple):
    """What one iteration came to. Scores are fractions; absent ones were not measured."""

    iteration: int
    scores: dict[str, Estimate]
    pairs: int
    drops: int
    seconds: float

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return {
            "iteration": self.iteration,
            **{name: score.plain() for name, score in self.scores.items()},
            "pairs": self.pairs,
            "drops": self.drops,
            "seconds": round(self.seconds, 1),
        }

    def cells(self) -> list[str]:
        """Texts for a table, in the order of `COLUMNS`."""
        scores = {**self.scores, "fix_rate": self.scores.get("fix_rate", self.scores.get("fix_rate_in_use"))}
        shown = [score.shown() if (score := scores.get(name)) else "-" for name in _SHOWN]
        return [str(self.iteration), *shown, str(self.pairs), str(self.drops), f"{self.seconds:.0f}"]


_SHOWN = (
    "actor_accuracy",
    "judge_balanced_accuracy_own",
    "judge_balanced_accuracy_rewrites",
    "fix_rate",
    "pair_truth",
    "pair_ordered",
)
COLUMNS = [
    "iteration",
    "actor accuracy %",
    "judging its actor's answers, balanced %",
    "its own rewrites %",
    "search truly fixes %",
    "pairs true %",
    "ordered %",
    "pairs",
    "drops",
    "seconds",
]


def run_summary(home: Home, run_id: str) -> list[IterationRow]:
    """One row per iteration of a run, from the catalogue."""
    with open_catalog(home) as catalog:
        stages = catalog.rows(
            "SELECT iteration, sum(seconds) AS seconds, sum(rows_dropped) AS drops, "
            "sum(CASE WHEN stage = 'pairs' THEN rows_out ELSE 0 END) AS pairs "
            "FROM stages WHERE run_id = ? AND state = 'completed' AND iteration IS NOT NULL "
            "GROUP BY iteration ORDER BY iteration",
            [run_id],
        )
        names = {metric: name for name, metric in _METRICS.items()}
        scores: dict[int, dict[str, Estimate]] = {}
        for row in catalog.rows("SELECT * FROM eval_scores WHERE run_id = ? AND benchmark = 'self_play'", [run_id]):
            if row["metric"] in names:
                score = Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])
                scores.setdefault(row["iteration"], {})[names[row["metric"]]] = score
    return [
        IterationRow(
            stage["iteration"],
            scores.get(stage["iteration"], {}),
            int(stage["pairs"] or 0),
            int(stage["drops"] or 0),
            float(stage["seconds"] or 0.0),
        )
        for stage in stages
    ]


def kind_table(home: Home, run_id: str) -> list[dict[str, Any]]:
    """Share of answers that meet each constraint kind, per iteration."""
    with open_catalog(home) as catalog:
        return catalog.rows(
            "SELECT iteration, replace(metric, 'kind/', '') AS kind, value, ci_low, ci_high, n FROM eval_scores "
            "WHERE run_id = ? AND metric LIKE 'kind/%' ORDER BY kind, iteration",
            [run_id],
        )


def benchmark_table(home: Home, run_id: str) -> list[tuple[int, ScoreRow]]:
    """Headline scores of `spar eval` on the models of a run, by iteration: the most thorough measurement of each.

    Measurements under other settings than the standard are other rows, with the settings beside the benchmark's name.
    """
    with open_catalog(home) as catalog:
        rows = catalog.rows(
            "SELECT m.iteration, e.benchmark, e.role, e.metric, e.settings, arg_max(e.value, e.n) AS value, "
            "arg_max(e.ci_low, e.n) AS ci_low, arg_max(e.ci_high, e.n) AS ci_high, max(e.n) AS n "
            "FROM models m JOIN eval_scores e ON e.model_digest = m.digest AND e.role = m.role "
            "WHERE m.run_id = ? AND e.benchmark <> 'self_play' GROUP BY ALL "
            "ORDER BY 1, 2, 5, 3, 4",
            [run_id],
        )
    found = []
    for row in rows:
        estimate = Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])
        scored = ScoreRow(row["benchmark"], row["role"], row["metric"], estimate, row["settings"])
        found.append((row["iteration"], scored))
    return [(iteration, row) for iteration, row in found if row.is_headline]
