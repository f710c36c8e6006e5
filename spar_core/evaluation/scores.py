"""A benchmark score: the estimate of one metric, and the ways the benchmarks make them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import SHARE, Span, Stratum, clustered_sums, stratified_mean_of_parts, wilson
from spar_core.records import EvalScore, ModelRole

__all__ = [
    "Score",
    "Stratum",
    "clustered_score",
    "histogram_score",
    "score_record",
    "score_records",
    "share_score",
    "stratified_score",
]


class Score(NamedTuple):
    """One metric. Fractions, but for `csl` (levels, 0-5); null where nothing could be scored.

    `value` is over the `n` scored items alone: `unscored` counts the ones that had no readable verdict or no answer.
    """

    metric: str
    estimate: Estimate

    @property
    def value(self) -> float | None:
        """The estimate's value."""
        return self.estimate.value if self.estimate.known else None

    @property
    def ci_low(self) -> float | None:
        """The lower bound."""
        return self.estimate.ci_low if self.estimate.known else None

    @property
    def ci_high(self) -> float | None:
        """The upper bound."""
        return self.estimate.ci_high if self.estimate.known else None

    @property
    def n(self) -> int:
        """Scored items."""
        return self.estimate.n

    @property
    def unscored(self) -> int:
        """Items that could not be scored."""
        return self.estimate.unscored

    def plain(self) -> dict[str, Any]:
        """JSON-like: the estimate, and how many could not be scored."""
        return self.estimate.plain() | {"unscored": self.estimate.unscored}

    @property
    def unscored_share(self) -> float:
        """Share of the items without a verdict, in [0, 1]."""
        return self.estimate.unscored_share


def share_score(metric: str, successes: int, n: int, unscored: int) -> Score:
    """Share of independent items, Wilson interval."""
    return Score(metric, wilson(successes, n, unscored))


def clustered_score(
    metric: str, sums: Sequence[float], counts: Sequence[int], unscored: int, span: Span = SHARE
) -> Score:
    """Mean over all values, bootstrapped by cluster. `sums[i]` adds up the `counts[i]` values of cluster i."""
    return Score(metric, clustered_sums(sums, counts, span, unscored=unscored))


def stratified_score(metric: str, strata: Sequence[Stratum], weights: Sequence[float], unscored: int) -> Score:
    """Mean over strata of the weighted mean over parts, see `stratified_mean_of_parts`."""
    return Score(metric, stratified_mean_of_parts(strata, weights, unscored=unscored))


def histogram_score(metric: str, histogram: Mapping[float, int], unscored: int) -> Score:
    """Mean of independent shares given as value -> count; memory does not grow with the counts."""
    values, counts = list(histogram), list(histogram.values())
    stratum = Stratum([[value] for value in values], [[1]] * len(values), counts)
    return stratified_score(metric, [stratum], (1.0,), unscored)


def score_record(benchmark: str, role: ModelRole, model_digest: str, metric: str, estimate: Estimate) -> EvalScore:
    """An estimate as a catalogue row; it has a value."""
    bounds = (estimate.value, estimate.ci_low, estimate.ci_high)
    return EvalScore(benchmark, role, model_digest, metric, *bounds, estimate.n)


def score_records(benchmark: str, role: ModelRole, model_digest: str, scores: Iterable[Score]) -> tuple[EvalScore, ...]:
    """The scores as catalogue rows, each followed by the share of items it could not score (`METRIC/unscored`)."""
    rows: list[EvalScore] = []
    for metric, estimate in scores:
        total = estimate.n + estimate.unscored
        if estimate.known:
            rows.append(score_record(benchmark, role, model_digest, metric, estimate))
        if total:
            share = wilson(estimate.unscored, total)
            rows.append(score_record(benchmark, role, model_digest, f"{metric}/unscored", share))
    return tuple(rows)
