"""Benchmark scores as rows of a table: value, interval, n, and beside each the share that could not be scored."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.samples import is_of_samples
from spar_core.evaluation.scores import Score
from spar_core.evaluation.settings import settings_words
from spar_core.records import EvalScore

COLUMNS = ["metric", "value", "95 % interval", "n", "unscored"]
_UNSCORED = "/unscored"
_IN_UNITS = ("csl", "bits_per_byte", "perplexity")  # levels, bits, ...; everything else is a fraction, shown in percent
_HEADLINES = (
    "prompt_strict",
    "instruction_strict",
    "prompt_loose",
    "instruction_loose",
    "hsr",
    "ssr",
    "csl",
    "bits_per_byte",
    "perplexity",
    "accuracy",
    "judge_balanced_accuracy",
    "fix_rate",
    "fix_rate_in_use",
    "single",
    "tree",
    "tree_minus_single",
    "answer_refused",
    "truncated",
    "judge_truncated",
    "unanswered",
)


class ScoreRow(NamedTuple):
    """One metric of one model. Fractions (`csl`: levels; `bits_per_byte`, `perplexity`: themselves)."""

    benchmark: str
    role: str
    metric: str
    estimate: Estimate
    settings: str = ""
    """How the answers were asked for, where that is not the standard."""

    def plain(self) -> dict[str, Any]:
        """JSON-like values; `unscored` is a share."""
        names = {"benchmark": self.benchmark, "role": self.role, "metric": self.metric}
        other = {"settings": json.loads(self.settings)} if self.settings else {}
        return {**names, **other, **self.estimate.plain(), "unscored": self.estimate.unscored_share}

    @property
    def in_units(self) -> bool:
        """Whether the figure is no fraction: levels, bits, ..."""
        return self.metric.split("/")[0] in _IN_UNITS

    def cells(self) -> list[str]:
        """Texts for a table, in the order of `COLUMNS`."""
        scale, estimate = 1 if self.in_units else 100, self.estimate
        value = f"{scale * estimate.value:.2f}" if estimate.known else "-"
        interval = estimate.bounds(scale, 2) if estimate.known else "-"
        return [self.metric, value, interval, str(estimate.n), f"{100 * estimate.unscored_share:.1f} %"]

    @property
    def is_headline(self) -> bool:
        """Whether it sums up a benchmark (not one kind, category, level or subset alone)."""
        whole, _, last = self.metric.rpartition("/")
        passes = is_of_samples(self.metric) and whole in _HEADLINES
        return self.metric in _HEADLINES or passes or last in ("overall", "adversarial")

    @property
    def place(self) -> str:
        """What was measured under which settings: `ifeval`, `ifeval (temperature 0.7, 5 samples)`."""
        return f"{self.benchmark} ({settings_words(self.settings)})" if self.settings else self.benchmark


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
        settings = (known or lacking[name]).settings
        rows.append(ScoreRow(*name, estimate, settings))
    return rows


def _name(record: EvalScore) -> tuple[str, str, str]:
    return record.benchmark, record.role, record.metric.removesuffix(_UNSCORED)
