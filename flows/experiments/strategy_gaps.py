"""The measured items of search curves, and what strategies and variants differ in at equal budgets."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

from flows.experiments.differences import by_seed, difference_of
from flows.experiments.outcome import Difference, StrategyGap, VariantGap
from flows.experiments.specification import Experiment
from spar_core.evaluation.comparison import Observation, stratified_mean
from spar_core.evaluation.estimate import Estimate

CurveItems = Mapping[tuple[str, int], Mapping[str, Sequence[tuple[Observation, str]]]]
"""By variant and iteration, then by metric: the items and the source of each one's prompt."""


def observed(runs: Mapping[str, tuple[str, int]], rows: Sequence[Mapping[str, Any]]) -> CurveItems:
    """The items of all search curves.

    Args:
        runs: variant and seed of each curve's run.
        rows: of `eval_items`.
    """
    found: dict[tuple[str, int], dict[str, list[tuple[Observation, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        variant, seed = runs[row["run_id"]]
        observation = Observation((seed, row["cluster"]), row["cluster"], row["value"])
        found[variant, row["iteration"]][row["metric"]].append((observation, row["source"]))
    return found


def strategy_gaps(planned: Experiment, found: CurveItems) -> Iterator[StrategyGap]:
    """Every two strategies at every budget, on the prompts whose first answer is wrong."""
    curve = planned.specification.search_curve
    if curve is None:
        return
    pairs = list(combinations(dict.fromkeys(curve.strategies), 2))
    places = product(planned.specification.curve_variants, curve.iterations_of(planned.runs[0].run))
    for (variant, number), pair, budget in product(places, pairs, sorted(set(curve.budgets))):
        gap = _gap(found.get((variant, number), {}), *pair, budget)
        if gap is not None:
            yield StrategyGap(
                variant=variant, iteration=number, budget=budget, strategy=pair[0], other=pair[1], **gap._asdict()
            )


def variant_gaps(planned: Experiment, found: CurveItems) -> Iterator[VariantGap]:
    """Every comparison of the experiment under every search that both of its variants were measured with.

    Left out where the two have the same answers throughout: the same models, such as those of iteration 0.
    """
    curve = planned.specification.search_curve
    if curve is None:
        return
    searches = [("none", 0), *product(dict.fromkeys(curve.strategies), sorted(set(curve.budgets)))]
    for (variant, baseline), number in product(
        planned.specification.comparisons, curve.iterations_of(planned.runs[0].run)
    ):
        for strategy, budget in searches:
            metric = "search_accuracy/none" if strategy == "none" else f"search_accuracy/{strategy}/{budget}"
            ours, theirs = (
                by_seed(item for item, _ in found.get((name, number), {}).get(metric, ()))
                for name in (variant, baseline)
            )
            gap = None if ours == theirs else difference_of("search_accuracy", theirs, ours)
            if gap is not None:
                yield VariantGap(
                    variant=variant, baseline=baseline, iteration=number, strategy=strategy, budget=budget, gap=gap
                )


class _Gap(NamedTuple):
    fixed: Estimate
    other_fixed: Estimate
    gap: Difference


def _gap(metrics: Mapping[str, Sequence[tuple[Observation, str]]], one: str, other: str, budget: int) -> _Gap | None:
    failing = {item.key for item, _ in metrics.get("search_accuracy/none", ()) if not item.value}
    first, second = (
        [item for item, _ in metrics.get(f"search_accuracy/{name}/{budget}", ()) if item.key in failing]
        for name in (one, other)
    )
    fixed, other_fixed = stratified_mean(first), stratified_mean(second)
    gap = difference_of("search_accuracy", by_seed(second), by_seed(first))
    if fixed is None or other_fixed is None or gap is None:
        return None
    return _Gap(fixed, other_fixed, gap)
