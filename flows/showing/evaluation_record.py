"""An evaluation as JSON: one shape, whether a model was asked or a file was scored."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flows.showing.score_rows import ScoreRow
from spar_core.evaluation.truncation import TRUNCATED, truncation_warning
from spar_core.records import EvalScore

JUDGE_TRUNCATED = "judge_truncated"
_PACKAGES = ("spar", "nltk", "langdetect", "emoji", "syllapy", "lm_eval")


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """What was measured, how, and what it came to. Nulls: a file of answers does not say how they were made.

    `data`: what the data were, by benchmark. `left_out`: rows without a score, by reason.
    """

    benchmark: str
    rows: Sequence[ScoreRow]
    warnings: Sequence[str]
    request: Mapping[str, Any]
    data: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, int]
    judge: str | None = None
    run_id: str | None = None
    sampling: Mapping[str, Any] | None = None
    limit: int | None = None
    seed: int | None = None

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return {
            "benchmark": self.benchmark,
            "run_id": self.run_id,
            "judge": self.judge,
            "scores": [row.plain() for row in self.rows],
            "warnings": list(self.warnings),
            "request": dict(self.request),
            "sampling": None if self.sampling is None else dict(self.sampling),
            "limit": self.limit,
            "seed": self.seed,
            "data": {name: dict(used) for name, used in self.data.items()},
            "left_out": dict(self.left_out),
            "versions": package_versions(),
        }


def package_versions() -> dict[str, str]:
    """Versions that scores depend on, of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def truncation_notes(scores: Iterable[EvalScore]) -> list[str]:
    """What to say of cut answers and cut judges' texts, by benchmark."""
    return [
        f"{score.benchmark}: {note}"
        for score in scores
        if (note := truncation_note(score.metric, score.value, score.n))
    ]


def truncation_note(metric: str, value: float | None, n: int) -> str:
    """What to say of one metric; empty where it is none of cut texts, or a small share."""
    if value is None:
        return ""
    if metric == TRUNCATED:
        return truncation_warning(value, n)
    if metric.rpartition("/")[2] == JUDGE_TRUNCATED:
        return truncation_warning(value, n, what="judge's texts", remedy="take a judge that keeps to the asked form")
    return ""
