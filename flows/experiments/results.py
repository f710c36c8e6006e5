"""From what a home holds to an experiment's outcome: means, paired differences, the search curves."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows.experiments.differences import by_seed, difference_of
from flows.experiments.outcome import (
    Comparison,
    CurvePoint,
    Difference,
    ExperimentOutcome,
    RunOutcome,
    VariantOutcome,
)
from flows.experiments.readings import POOL, UNPAIRED, Readings, curve_items
from flows.experiments.specification import Experiment, curve_run_id
from flows.experiments.strategy_gaps import CurveItems, observed, strategy_gaps, variant_gaps
from spar_core.evaluation.comparison import Observation, clustered_change, paired_change, stratified_mean
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import mean_by_size
from storage.catalog import open_catalog

Measured = Mapping[str, Sequence[Observation]]


def collect(planned: Experiment, failures: Mapping[tuple[str, int], str]) -> ExperimentOutcome:
    """Everything the home holds of an experiment now.

    Args:
        planned: the experiment.
        failures: why runs failed just now, by variant and seed.
    """
    home, specification = planned.runs[0].run.home, planned.specification
    ids = {(entry.variant, entry.seed): entry.run.run_id for entry in planned.runs}
    with open_catalog(home) as catalog:
        readings = Readings(home, catalog, ids.values())
        curve_runs = {
            curve_run_id(ids[variant, seed]): (variant, seed)
            for variant in specification.curve_variants
            for seed in specification.seeds_of(variant)
        }
        curve_rows = curve_items(catalog, list(curve_runs))
    runs = tuple(readings.run(entry, failures.get((entry.variant, entry.seed), "")) for entry in planned.runs)
    evidence, curve = _Evidence(readings, runs), observed(curve_runs, curve_rows)
    return ExperimentOutcome(
        experiment_id=planned.run_id,
        name=specification.name,
        title=specification.title or specification.name,
        description=specification.description,
        file=planned.file.name,
        file_text=planned.text,
        home=str(home.root),
        overrides=planned.given,
        seeds=specification.seeds,
        shared=_shared(planned),
        variants=tuple(evidence.variant(name, overrides) for name, overrides in specification.variants.items()),
        runs=runs,
        comparisons=tuple(evidence.compared(*pair) for pair in specification.comparisons),
        curve=tuple(_curve(planned, curve)),
        strategy_gaps=tuple(strategy_gaps(planned, curve)),
        variant_gaps=tuple(variant_gaps(planned, curve)),
    )


class _Evidence:
    """The measured items of every run, read when first asked for."""

    def __init__(self, readings: Readings, runs: Sequence[RunOutcome]) -> None:
        self._readings = readings
        self._runs = runs
        self._known: dict[tuple[str, int, int], Measured] = {}

    def variant(self, name: str, overrides: dict[str, Any]) -> VariantOutcome:
        """A variant over its seeds: those that got as far."""
        own = [run for run in self._runs if run.variant == name]
        longest = max((len(run.iterations) for run in own), default=0)
        return VariantOutcome(
            name=name,
            overrides=overrides,
            means=tuple(
                self._means([run for run in own if len(run.iterations) > number], number) for number in range(longest)
            ),
            gains=tuple(
                self._differences([(run, 0, run, -1) for run in own if run.complete and len(run.iterations) > 1])
            ),
        )

    def compared(self, variant: str, baseline: str) -> Comparison:
        """Variant minus baseline at the end, for the seeds that both finished."""
        finished = {(run.variant, run.seed): run for run in self._runs if run.complete}
        both = [
            (finished[baseline, seed], finished[variant, seed])
            for seed in dict.fromkeys(run.seed for run in self._runs)
            if (baseline, seed) in finished and (variant, seed) in finished
        ]
        warnings = [warning for pair in both for warning in _unevenness(*pair)]
        if not both:
            warnings.append(f"{variant} - {baseline}: no seed is finished in both")
        return Comparison(
            variant=variant,
            baseline=baseline,
            differences=tuple(self._differences([(low, -1, high, -1) for low, high in both])),
            warnings=tuple(warnings),
        )

    def _means(self, runs: Sequence[RunOutcome], number: int) -> dict[str, Estimate]:
        """Every metric that all these runs have, over the items of all of them.

        One seed's own score stands as it is; several are made of their items where there are any.
        """
        scores = [run.iterations[number].scores for run in runs]
        measured = [self._items(run, number) for run in runs]
        found = {}
        known = [{*score, *({POOL} & items.keys())} for score, items in zip(scores, measured, strict=True)]
        for metric in sorted(set.intersection(*known)):
            together = [observation for items in measured for observation in items.get(metric, ())]
            scored = [each[metric] for each in scores if metric in each]
            paired = stratified_mean(together) if len(runs) > 1 or not scored else None
            found[metric] = paired or mean_by_size(scored)
        return found

    def _differences(self, pairs: Sequence[tuple[RunOutcome, int, RunOutcome, int]]) -> list[Difference]:
        """Second minus first of each pair of (run, iteration), by metric."""
        before = {low.seed: self._items(low, low.iterations[at].iteration) for low, at, _, _ in pairs}
        after = {high.seed: self._items(high, high.iterations[at].iteration) for _, _, high, at in pairs}
        metrics = dict.fromkeys(metric for items in before.values() for metric in sorted(items))
        found = [
            difference_of(
                metric,
                {seed: items.get(metric, ()) for seed, items in before.items()},
                {seed: items.get(metric, ()) for seed, items in after.items()},
                clustered_change if metric in UNPAIRED else paired_change,
            )
            for metric in metrics
        ]
        return [each for each in found if each is not None]

    def _items(self, run: RunOutcome, number: int) -> Measured:
        place = (run.run_id, run.seed, number)
        if place not in self._known:
            self._known[place] = self._readings.observations(*place)
        return self._known[place]


def _unevenness(baseline: RunOutcome, variant: RunOutcome) -> list[str]:
    """Where two compared runs did not learn from as much; one line each."""
    found = []
    for low, high in zip(baseline.iterations, variant.iterations, strict=False):
        unequal = [
            f"{what} {ours} against {theirs}"
            for what, ours, theirs in (("pairs", high.pairs, low.pairs), ("DPO steps", high.dpo_steps, low.dpo_steps))
            if ours != theirs
        ]
        if unequal:
            names = f"{variant.variant} against {baseline.variant}"
            found.append(f"seed {variant.seed}, iteration {low.iteration}, {names}: {', '.join(unequal)}")
    return found


def _shared(planned: Experiment) -> dict[str, Any]:
    """Settings a reader wants to know, of the first variant; those a variant sets itself stand with the variant."""
    config = planned.runs[0].run.config
    evaluation, pairs = config.evaluation, config.method.pairs
    return {
        "preset": config.preset,
        "iterations": config.iterations,
        "prompts per iteration": config.prompts.per_iteration,
        "pairs per iteration": "all" if pairs.max_pairs is None else f"at most {pairs.max_pairs}",
        "measured on": f"{evaluation.prompts} prompts ({evaluation.split} split), {evaluation.samples} answers each",
        "answers the refiner is measured on": evaluation.refiner_items,
        "models": config.models.actor,
    }


def _curve(planned: Experiment, found: CurveItems) -> list[CurvePoint]:
    """Every point, in the order of variants, iterations, strategies and budgets."""
    curve = planned.specification.search_curve
    if curve is None:
        return []
    points = []
    last = planned.runs[0].run
    for variant in planned.specification.curve_variants:
        for number in curve.iterations_of(last):
            metrics = found.get((variant, number), {})
            point = _point_of(variant, number, metrics)
            places = [
                ("none", 0),
                *((s, b) for s in dict.fromkeys(curve.strategies) for b in sorted(set(curve.budgets))),
            ]
            points += [made for place in places if (made := point(*place)) is not None]
    return points


def _point_of(
    variant: str, iteration: int, metrics: Mapping[str, Sequence[tuple[Observation, str]]]
) -> Callable[[str, int], CurvePoint | None]:
    def values(metric: str) -> list[Observation]:
        return [observation for observation, _ in metrics.get(metric, ())]

    def point(strategy: str, budget: int) -> CurvePoint | None:
        place = strategy if strategy == "none" else f"{strategy}/{budget}"
        accuracy = stratified_mean(values(f"search_accuracy/{place}"))
        if accuracy is None:
            return None
        gain = difference_of(
            "search_accuracy", by_seed(values("search_accuracy/none")), by_seed(values(f"search_accuracy/{place}"))
        )
        tokens = values(f"search_tokens/{place}")
        by_source: dict[str, list[float]] = defaultdict(list)
        for observation, source in metrics[f"search_accuracy/{place}"]:
            by_source[source].append(observation.value)
        return CurvePoint(
            variant=variant,
            iteration=iteration,
            strategy=strategy,
            budget=budget,
            accuracy=accuracy,
            gain=None if strategy == "none" else gain,
            tokens=statistics.fmean(entry.value for entry in tokens) if tokens else 0.0,
            by_source={name: statistics.fmean(group) for name, group in sorted(by_source.items())},
        )

    return point
