"""A benchmark score: value, 95 % interval, how many items were scored and how many could not be."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spar_core.evaluation.statistics import RESAMPLES, clustered_sums, wilson
from spar_core.records import EvalScore, ModelRole

_SEED = 0
_BLOCK_CELLS = 2_000_000  # multiplicities held in memory at once
_KEPT_CLUSTERS = 500


@dataclass(frozen=True, slots=True)
class Score:
    """One metric. Fractions, but for `csl` (levels, 0-5); null where nothing could be scored.

    `value` is over the `n` scored items alone: `unscored` counts the ones that had no readable verdict or no answer.
    """

    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    unscored: int

    @property
    def unscored_share(self) -> float:
        """Share of the items without a verdict, in [0, 1]."""
        return self.unscored / (self.n + self.unscored) if self.unscored else 0.0


class Stratum(NamedTuple):
    """Sums and counts of values by cluster (rows) and part (columns); parts of a cluster are drawn together."""

    sums: Sequence[Sequence[float]]
    counts: Sequence[Sequence[int]]


def share_score(metric: str, successes: int, n: int, unscored: int) -> Score:
    """Share of independent items, Wilson interval."""
    if n == 0:
        return Score(metric, None, None, None, 0, unscored)
    _, low, high, _ = wilson(successes, n)
    return Score(metric, successes / n, low, high, n, unscored)


def clustered_score(metric: str, sums: Sequence[float], counts: Sequence[int], unscored: int) -> Score:
    """Mean over all values, bootstrapped by cluster. `sums[i]` adds up the `counts[i]` values of cluster i."""
    value, low, high, n = clustered_sums(sums, counts)
    return Score(metric, value, low, high, n, unscored) if n else Score(metric, None, None, None, 0, unscored)


def stratified_score(metric: str, strata: Sequence[Stratum], weights: Sequence[float], unscored: int) -> Score:
    """Mean over strata of the weighted mean over parts, clusters drawn with replacement within each stratum.

    Each part's mean is over its values in the stratum; `weights` (one per part) are scaled to sum to one.
    `n` counts values. Null if some part of some stratum holds no value.
    """
    scale = np.asarray(weights, np.float64) / sum(weights)
    tables = [(np.asarray(s.sums, np.float64), np.asarray(s.counts, np.float64)) for s in strata]
    n = int(sum(counts.sum() for _, counts in tables))
    if not tables or any(not len(counts) or not counts.sum(axis=0).all() for _, counts in tables):
        return Score(metric, None, None, None, n, unscored)
    value = float(np.mean([(sums.sum(0) / counts.sum(0)) @ scale for sums, counts in tables]))
    drawn = np.mean([_resample(*table, stratum) @ scale for stratum, table in enumerate(tables)], axis=0)
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Score(metric, value, min(float(low), value), max(float(high), value), n, unscored)


def _resample(sums: NDArray[np.float64], counts: NDArray[np.float64], stratum: int) -> NDArray[np.float64]:
    """Means by part of each resample, shape (RESAMPLES, parts); NaN where a resample holds no value of a part."""
    size = len(counts)
    means: list[NDArray[np.float64]] = []
    for times in _kept_multiplicities(size, stratum) if size <= _KEPT_CLUSTERS else _multiplicities(size, stratum):
        totals = times @ counts
        means.append(np.divide(times @ sums, totals, out=np.full_like(totals, np.nan), where=totals > 0))
    return np.concatenate(means)


def _multiplicities(size: int, stratum: int) -> Iterator[NDArray[np.float32]]:
    """How often each of `size` clusters is drawn, in blocks of shape (resamples, size)."""
    rng = np.random.default_rng((_SEED, stratum))
    block = max(1, _BLOCK_CELLS // size)
    for start in range(0, RESAMPLES, block):
        draws = min(block, RESAMPLES - start)
        yield rng.multinomial(size, np.full(size, 1 / size), draws).astype(np.float32)


@lru_cache(maxsize=16)
def _kept_multiplicities(size: int, stratum: int) -> tuple[NDArray[np.float32], ...]:
    """The draws of a small stratum: a report asks for the same ones metric after metric, and drawing is costly."""
    return tuple(_multiplicities(size, stratum))


def histogram_score(metric: str, histogram: Mapping[float, int], unscored: int) -> Score:
    """Mean of independent values given as value -> count, bootstrapped; memory does not grow with the counts."""
    n = sum(histogram.values())
    if n == 0:
        return Score(metric, None, None, None, 0, unscored)
    values = np.fromiter(histogram.keys(), np.float64)
    counts = np.fromiter(histogram.values(), np.float64)
    drawn = np.random.default_rng(_SEED).multinomial(n, counts / n, RESAMPLES) @ values / n
    value = float(counts @ values / n)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Score(metric, value, min(float(low), value), max(float(high), value), n, unscored)


def score_records(benchmark: str, role: ModelRole, model_digest: str, scores: Iterable[Score]) -> tuple[EvalScore, ...]:
    """The scores as catalogue rows, each followed by the share of items it could not score (`METRIC/unscored`)."""
    rows: list[EvalScore] = []
    for score in scores:
        total = score.n + score.unscored
        if score.value is not None and score.ci_low is not None and score.ci_high is not None:
            interval = (score.value, score.ci_low, score.ci_high)
            rows.append(EvalScore(benchmark, role, model_digest, score.metric, *interval, score.n))
        if total:
            _, low, high, _ = wilson(score.unscored, total)
            name = f"{score.metric}/unscored"
            rows.append(EvalScore(benchmark, role, model_digest, name, score.unscored_share, low, high, total))
    return tuple(rows)
