"""Benchmark scores as rows of a table: value, interval, n, and beside each the share that could not be scored."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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
    """One metric. Fractions (`csl`: levels); null where nothing could be scored. `unscored` is a share."""

    benchmark: str
    role: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    unscored: float

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return self._asdict()

    def cells(self) -> list[str]:
        """Texts for a table, in the order of `COLUMNS`."""
        scale, digits = (1, 2) if self.metric.split("/")[0] == _LEVELS else (100, 2)
        if self.value is None or self.ci_low is None or self.ci_high is None:
            value, interval = "-", "-"
        else:
            value = f"{scale * self.value:.{digits}f}"
            interval = f"[{scale * self.ci_low:.{digits}f}, {scale * self.ci_high:.{digits}f}]"
        return [self.metric, value, interval, str(self.n), f"{100 * self.unscored:.1f} %"]

    @property
    def is_headline(self) -> bool:
        """Whether it sums up a benchmark (not one kind, category, level or subset alone)."""
        return self.metric in _HEADLINES or self.metric.endswith(("/overall", "/adversarial"))


def rows_of_scores(benchmark: str, scores: Iterable[Score]) -> list[ScoreRow]:
    """Rows of a scored file."""
    return [ScoreRow(benchmark, "", s.metric, s.value, s.ci_low, s.ci_high, s.n, s.unscored_share) for s in scores]


def rows_of_records(records: Sequence[EvalScore]) -> list[ScoreRow]:
    """Rows of catalogue records, each metric joined with its unscored share; one alone stays, without a value."""
    valued = {_name(record): record for record in records if not record.metric.endswith(_UNSCORED)}
    lacking = {_name(record): record for record in records if record.metric.endswith(_UNSCORED)}
    rows = []
    for name in dict.fromkeys(map(_name, records)):
        share = lacking[name].value if name in lacking else 0.0
        known = valued.get(name)
        if known is None:
            scored = round(lacking[name].n * (1 - share))
            rows.append(ScoreRow(*name, None, None, None, scored, share))
        else:
            rows.append(ScoreRow(*name, known.value, known.ci_low, known.ci_high, known.n, share))
    return rows


def _name(record: EvalScore) -> tuple[str, str, str]:
    return record.benchmark, record.role, record.metric.removesuffix(_UNSCORED)
