"""Two measurements of the same items, compared: the mean change with its interval over clusters, strata kept apart."""

import math
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import NamedTuple

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import DIFFERENCE, SHARE, Span, Stratum, stratified_mean_of_parts


class Observation(NamedTuple):
    """One value of one item, in [0, 1].

    `key` names the item: equal keys of two measurements are paired. Items of one `cluster` (a prompt, whatever the
    seed) are resampled together. Strata weigh the same however many items they hold: with the truth as stratum, the
    mean of right verdicts is the balanced accuracy.
    """

    key: Hashable
    cluster: Hashable
    value: float
    stratum: str = ""


def stratified_mean(observations: Iterable[Observation]) -> Estimate | None:
    """Mean over strata of the mean within each, with its interval over clusters; None for no items."""
    return _mean(list(observations), SHARE)


def paired_change(before: Iterable[Observation], after: Iterable[Observation]) -> Estimate | None:
    """`stratified_mean` of after - before over the items measured both times; None where there are none.

    `n` counts the pairs. The stratum and the cluster are those of the first measurement.
    """
    later = {item.key: item.value for item in after}
    changes = [item._replace(value=later[item.key] - item.value) for item in before if item.key in later]
    return _mean(changes, DIFFERENCE)


def clustered_change(before: Iterable[Observation], after: Iterable[Observation]) -> Estimate | None:
    """`stratified_mean` of after minus that of before where the items are not the same, such as texts of two models.

    Clusters (prompts) are still drawn together for both sides. None where one side lacks a stratum of the other; `n`
    counts the items of both.
    """
    sides = [list(before), list(after)]
    strata = [{item.stratum for item in side} for side in sides]
    if not sides[0] or strata[0] != strata[1]:
        return None
    signed = [
        item._replace(value=sign * item.value, stratum=f"{sign}/{item.stratum}")
        for sign, side in zip((-1, 1), sides, strict=True)
        for item in side
    ]
    half = _mean(signed, DIFFERENCE)  # the mean over both sides' strata is half of their difference
    return half and replace(
        half, value=2 * half.value, ci_low=max(-1.0, 2 * half.ci_low), ci_high=min(1.0, 2 * half.ci_high)
    )


def difference_of_two(first: Estimate, second: Estimate) -> Estimate:
    """`second - first` of two independent shares, as `statistics.mean_of_two` does it (Newcombe 1998, method 10)."""
    value = second.value - first.value
    low = math.hypot(second.value - second.ci_low, first.ci_high - first.value)
    high = math.hypot(second.ci_high - second.value, first.value - first.ci_low)
    return Estimate(value, max(-1.0, value - low), min(1.0, value + high), first.n + second.n)


def _mean(items: list[Observation], span: Span) -> Estimate | None:
    if not items:
        return None
    clusters = {cluster: index for index, cluster in enumerate(dict.fromkeys(item.cluster for item in items))}
    strata = {stratum: index for index, stratum in enumerate(sorted({item.stratum for item in items}))}
    sums = [[0.0] * len(strata) for _ in clusters]
    counts = [[0] * len(strata) for _ in clusters]
    for item in items:
        row, column = clusters[item.cluster], strata[item.stratum]
        sums[row][column] += item.value
        counts[row][column] += 1
    return stratified_mean_of_parts([Stratum(sums, counts)], [1.0] * len(strata), span)
