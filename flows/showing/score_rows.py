"""Benchmark scores as rows of a table: value, interval, n, and beside each the share that could not be scored."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.scores import Score
from spar_core.records import EvalScore

COLUMNS = ["metric", "value", "95 % interval", "n", "unscored"]
_UNSCORED = "/unscored"
_LEVELS = "csl"  # counted in levels; everything else is a fraction, shown in percent
_HEADLINES = (
    "prompt_strict",
    "instruction_strict",
    "prompt_loose",
    "instruction_loose",
    "hsr",
    "ssr",
    "csl",
    "accuracy",
    "judge_balanced_accuracy",
    "fix_rate",
    "single",
    "tree",
    "tree_minus_single",
    "answer_refused",
    "truncated",
    "judge_truncated",
    "unanswered",
)


class ScoreRow(NamedTuple):
    """One metric of one model. Fractions (`csl`: levels)."""

    benchmark: str
    role: str
    metric: str
    estimate: Estimate

    def plain(self) -> dict[str, Any]:
        """JSON-like values; `unscored` is a share."""
        names = {"benchmark": self.benchmark, "role": self.role, "metric": self.metric}
        return {**names, **self.estimate.plain(), "unscored": self.estimate.unscored_share}

    def cells(self) -> list[str]:
        """Texts for a table, in the order of `COLUMNS`."""
        scale, estimate = 1 if self.metric.split("/")[0] == _LEVELS else 100, self.estimate
        value = f"{scale * estimate.value:.2f}" if estimate.known else "-"
        interval = estimate.bounds(scale, 2) if estimate.known else "-"
        return [self.metric, value, interval, str(estimate.n), f"{100 * estimate.unscored_share:.1f} %"]

    @property
    def is_headline(self) -> bool:
        """Whether it sums up a benchmark (not one kind, category, level or subset alone)."""
        return self.metric in _HEADLINES or self.metric.endswith(("/overall", "/adversarial"))


def rows_of_scores(benchmark: str, scores: Iterable[Score]) -> list[ScoreRow]:
    """Rows of a scored file."""
    return [ScoreRow(benchmark, "", score.metric, score.estimate) for score in scores]


def rows_of_records(records: Sequence[EvalScore]) -> list[ScoreRow]:
    """Rows of catalogue records, each metric joined with its unscored share; one alone stays, without a value."""
    valued = {_name(record): record for record in records if not record.metric.endswith(_UNSCORED)}
    lacking = {_name(record): record for record in records if record.metric.endswith(_UNSCORED)}
    rows = []
    for name in dict.fromkeys(map(_name, records)):
        known, without = valued.get(name), lacking.get(name)
        unscored = 0 if without is None else round(without.n * without.value)
        if known is None:
            total = 0 if without is None else without.n
            estimate = Estimate.nothing(unscored, total - unscored)
        else:
            estimate = Estimate(known.value, known.ci_low, known.ci_high, known.n, unscored)
        rows.append(ScoreRow(*name, estimate))
    return rows


def _name(record: EvalScore) -> tuple[str, str, str]:
    return record.benchmark, record.role, record.metric.removesuffix(_UNSCORED)
