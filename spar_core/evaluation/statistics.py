"""Intervals of estimates: Wilson's, one bootstrap over clusters, and Student's t over seeds.

Every interval is at 95 %. Shares of independent items get Wilson's; everything that comes in clusters is a function
of totals over clusters, and the clusters are drawn again with replacement. Where all clusters agree, drawing again
shows no spread, though others may disagree: then the interval is Wilson's, for as many clusters as the weights are
worth. Draws come from a fixed seed, so a score and its interval are a function of the data alone.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spar_core.errors import DataError
from spar_core.evaluation.estimate import Estimate

_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
# The 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; more are expanded around the normal's.
_T = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
RESAMPLES = 2000
_BLOCK_CELLS = 4_000_000  # multiplicities held in memory at once
_SAME = 1e-12

Span = tuple[float, float]
"""The least and the greatest value that one item can have."""
SHARE: Span = (0.0, 1.0)
DIFFERENCE: Span = (-1.0, 1.0)

Floats = NDArray[np.float64]


def wilson(successes: float, n: int, unscored: int = 0) -> Estimate:
    """Share of successes among `n` independent items, with the Wilson score interval; no value for n = 0.

    Raises:
        DataError: more successes than items, or fewer than none.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} items cannot be; count both over the same items")
    if n == 0:
        return Estimate.nothing(unscored)
    share = successes / n
    spread = _Z * _Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # At the ends the bound is the end itself; rounding must not put the estimate outside its interval.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(share, low, high, n, unscored)


class Clusters(NamedTuple):
    """Clusters to be drawn: what one of each kind adds to the totals, shape (kinds, totals), and how many are alike."""

    adds: Floats
    alike: NDArray[np.int64]

    @classmethod
    def of(cls, adds: Floats, alike: NDArray[np.int64] | None = None) -> Self:
        """Clusters that add the same become one kind: drawing how often a kind is met is drawing its clusters.

        Args:
            adds: a row per cluster, or per `alike` clusters.
            alike: how many clusters each row stands for; null: one.
        """
        kinds, place = np.unique(adds, axis=0, return_inverse=True)
        return cls(kinds, np.bincount(place.reshape(-1), weights=alike, minlength=len(kinds)).astype(np.int64))


class Resampled(NamedTuple):
    """A statistic of the data, and the 2.5 % and 97.5 % quantiles of its draws, widened to hold it."""

    value: float
    low: float
    high: float


def bootstrap(
    strata: Sequence[Clusters],
    statistic: Callable[[Sequence[Floats]], Floats],
    seed: int = 0,
) -> Resampled:
    """Any statistic of totals over clusters, the clusters of each stratum drawn with replacement.

    Args:
        strata: of at least one cluster each.
        statistic: from the totals of each stratum, shape (draws, totals), to one value per draw, shape (draws,). NaN
            where a draw has no value; such draws are left out.
        seed: of the draws.
    """
    observed = [(kind.alike.astype(np.float64) @ kind.adds)[np.newaxis] for kind in strata]
    value = float(statistic(observed)[0])
    drawn = statistic([_drawn_totals(kind, (seed, place)) for place, kind in enumerate(strata)])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Resampled(value, min(float(low), value), max(float(high), value))


def _drawn_totals(clusters: Clusters, seed: tuple[int, int]) -> Floats:
    rng = np.random.default_rng(seed)
    total = int(clusters.alike.sum())
    share = clusters.alike / total
    block = max(1, _BLOCK_CELLS // len(share))
    return np.concatenate(
        [
            rng.multinomial(total, share, min(block, RESAMPLES - start)).astype(np.float64) @ clusters.adds
            for start in range(0, RESAMPLES, block)
        ]
    )


class Stratum(NamedTuple):
    """Sums and counts of values by cluster (rows) and part (columns); parts of a cluster are drawn together.

    `alike` says how many clusters each row stands for; null: one.
    """

    sums: Sequence[Sequence[float]]
    counts: Sequence[Sequence[int]]
    alike: Sequence[int] | None = None


class _Table(NamedTuple):
    """A stratum as arrays."""

    sums: Floats
    counts: Floats
    alike: NDArray[np.int64]

    @classmethod
    def of(cls, stratum: Stratum) -> Self:
        parts = max(map(len, stratum.counts), default=1)
        sums, counts = (np.asarray(cells, np.float64).reshape(-1, parts) for cells in (stratum.sums, stratum.counts))
        alike = np.ones(len(counts)) if stratum.alike is None else np.asarray(stratum.alike)
        return cls(sums, counts, alike.astype(np.int64))

    def sizes(self) -> Floats:
        """How many values each part has."""
        found: Floats = self.alike @ self.counts
        return found


def stratified_mean_of_parts(
    strata: Sequence[Stratum], weights: Sequence[float], span: Span | None = SHARE, unscored: int = 0, seed: int = 0
) -> Estimate:
    """Mean over strata of the weighted mean over parts; a part's mean is over its values in the stratum.

    Clusters are drawn within each stratum; a part that a draw lacks leaves the others to speak for it. `n` counts
    values.

    Args:
        strata: the values.
        weights: one per part; scaled to sum to one.
        span: of one value; null where it has no bounds, then parts that agree get no interval of their own.
        unscored: items without a value.
        seed: of the draws.

    Returns:
        The mean; no value if some part of some stratum holds none.
    """
    tables = [_Table.of(stratum) for stratum in strata]
    n = int(sum(float(table.sizes().sum()) for table in tables))
    if not tables or any(not table.sizes().all() for table in tables):
        return Estimate.nothing(unscored, n)
    scale = np.asarray(weights, np.float64) / sum(weights)
    parts = len(scale)

    def mean(totals: Sequence[Floats]) -> Floats:
        ratios = np.stack([_ratio(each[:, :parts], each[:, parts:]) for each in totals], axis=1)
        there = np.where(np.isnan(ratios), 0.0, scale)
        found: Floats = (np.nan_to_num(ratios) * there).sum(axis=(1, 2)) / there.sum(axis=(1, 2))
        return found

    value, low, high = bootstrap([Clusters.of(np.hstack(table[:2]), table.alike) for table in tables], mean, seed)
    if span is not None:
        unseen = [[value - low, high - value]]
        unseen += [list(_unseen(table, span) @ scale / len(tables)) for table in tables]
        below, above = np.hypot.reduce(np.asarray(unseen), axis=0)
        low, high = max(span[0], value - float(below)), min(span[1], value + float(above))
    return Estimate(value, low, high, n, unscored)


def _ratio(sums: Floats, counts: Floats) -> Floats:
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _unseen(table: _Table, span: Span) -> Floats:
    """How far the mean of each part may lie below and above, shape (2, parts): nothing where its clusters differ.

    Where they agree, the share of clusters that would not is at most Wilson's bound for none of n, and those lie within
    `span`. For shares of 0 and 1 this is Wilson's interval. n is what clusters of unequal size are worth (Kish): the
    square of the sum of their sizes over the sum of the squares.
    """
    ratios = _ratio(table.sums, table.counts)
    least, most = np.nanmin(ratios, axis=0), np.nanmax(ratios, axis=0)
    worth = table.sizes() ** 2 / (table.alike @ table.counts**2)
    others = np.where(most - least < _SAME, _Z * _Z / (worth + _Z * _Z), 0.0)
    return np.stack([others * (least - span[0]), others * (span[1] - most)])


def clustered_mean(
    values: Sequence[float], clusters: Sequence[Hashable], span: Span | None = SHARE, seed: int = 0
) -> Estimate:
    """Mean of `values` with whole clusters drawn again; no value for no values.

    The items of one prompt share its difficulty, so drawing items alone would give too narrow an interval. `values[i]`
    belongs to `clusters[i]`; `n` counts values.

    Raises:
        DataError: the sequences differ in length.
    """
    if len(values) != len(clusters):
        raise DataError(f"{len(values)} values and {len(clusters)} clusters; give one cluster per value")
    return clustered_sums(*_by_cluster(values, clusters), span, seed)


def clustered_sums(
    sums: Sequence[float], counts: Sequence[int], span: Span | None = SHARE, seed: int = 0, unscored: int = 0
) -> Estimate:
    """As `clustered_mean`, from the sum and the number of values of each cluster; memory stays bounded.

    Raises:
        DataError: the sequences differ in length.
    """
    if len(sums) != len(counts):
        raise DataError(f"{len(sums)} sums and {len(counts)} counts; give one of each per cluster")
    stratum = Stratum([[each] for each in sums], [[each] for each in counts])
    return stratified_mean_of_parts([stratum], (1.0,), span, unscored, seed)


def paired_difference(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], seed: int = 0
) -> Estimate:
    """Mean of `second - first` over the same items, bootstrapped by cluster.

    `first[i]` and `second[i]` are two models' scores of one item, in [0, 1]. The interval excludes zero where the
    models differ at the 5 % level.

    Raises:
        DataError: the sequences differ in length.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} scores cannot be paired; score the same items twice")
    changes = [late - early for early, late in zip(first, second, strict=True)]
    return clustered_mean(changes, clusters, DIFFERENCE, seed)


def share_interval(hits: Sequence[bool], clusters: Sequence[Hashable], unscored: int = 0) -> Estimate:
    """Share of hits: Wilson where every item is a cluster of its own, else bootstrapped by cluster."""
    if len(set(clusters)) == len(hits):
        return wilson(sum(hits), len(hits), unscored)
    return replace(clustered_mean([float(one) for one in hits], clusters), unscored=unscored)


def mean_of_two(first: Estimate, second: Estimate) -> Estimate:
    """Mean of two independent shares; its interval recovers their variances from theirs (MOVER, Zou & Donner 2008)."""
    low = math.hypot(first.value - first.ci_low, second.value - second.ci_low) / 2
    high = math.hypot(first.ci_high - first.value, second.ci_high - second.value) / 2
    value = (first.value + second.value) / 2
    return Estimate(
        value, max(0.0, value - low), min(1.0, value + high), first.n + second.n, first.unscored + second.unscored
    )


def mean_by_size(estimates: Sequence[Estimate]) -> Estimate:
    """One metric measured several times on the same prompts, each time weighing by its n; no value for none.

    The measurements share their prompts, so they do not make one another more certain: the bounds are weighted alike.
    """
    known = [each for each in estimates if each.known and each.n]
    unscored = sum(each.unscored for each in estimates)
    n = sum(each.n for each in known)
    if not n:
        return Estimate.nothing(unscored)
    value, low, high = (
        sum(getattr(each, name) * each.n for each in known) / n for name in ("value", "ci_low", "ci_high")
    )
    return Estimate(value, low, high, n, unscored)


def over_seeds(values: Sequence[float], span: Span | None = DIFFERENCE) -> Estimate | None:
    """Mean of one value per seed with Student's t interval: what another seed would show; None below two seeds.

    `n` counts seeds. Seeds that agree to the last digit get the interval of clusters that agree.
    """
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    if max(values) - min(values) < _SAME:
        return clustered_mean(values, range(n), span)
    half = _t_quantile(n - 1) * math.sqrt(variance / n)
    return Estimate(mean, mean - half, mean + half, n)


def _t_quantile(freedom: int) -> float:
    if freedom <= len(_T):
        return _T[freedom - 1]
    return _Z + (_Z**3 + _Z) / (4 * freedom) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * freedom**2)


def _by_cluster(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[list[float], list[int]]:
    sums: dict[Hashable, float] = {}
    counts: dict[Hashable, int] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value
        counts[cluster] = counts.get(cluster, 0) + 1
    return list(sums.values()), list(counts.values())
