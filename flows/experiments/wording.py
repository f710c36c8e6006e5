"""How the figures of an experiment are written down, and what they come to in words."""

from collections.abc import Sequence

from flows.experiments.outcome import Comparison, CurvePoint, Difference, Estimate, ExperimentOutcome, VariantOutcome

ACCURACIES = {"accuracy": "all", "accuracy/iid": "in distribution", "accuracy/heldout": "held out"}
REFINER = {
    "judge_balanced_accuracy": "judging, balanced accuracy",
    "judge_balanced_accuracy_own": "judging the final actor's own answers",
    "judge_balanced_accuracy_rewrites": "judging its own rewrites",
    "self_evaluation_bias": "self-evaluation bias",
    "fix_rate": "failing answers truly fixed",
    "fix_rate/heldout": "the same, held out",
    "accepted_below_depth_1": "of these, accepted below depth 1",
}
_NEVER = "-"


def percent(estimate: Estimate | None) -> str:
    """`71.9`."""
    return _NEVER if estimate is None else f"{100 * estimate.value:.1f}"


def interval(estimate: Estimate | None) -> str:
    """`71.9 [70.1, 73.5]`, in percent."""
    if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
        return percent(estimate)
    return f"{100 * estimate.value:.1f} [{100 * estimate.ci_low:.1f}, {100 * estimate.ci_high:.1f}]"


def change(estimate: Estimate | None) -> str:
    """`+4.5 [3.7, 5.5]`, in points."""
    if estimate is None:
        return _NEVER
    return f"{'+' if estimate.value >= 0 else ''}{interval(estimate)}"


def count(value: float | None) -> str:
    """Whole numbers as they are, means with one digit."""
    if value is None:
        return _NEVER
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def difference(differences: Sequence[Difference], metric: str) -> Difference | None:
    """The difference of one metric."""
    return next((entry for entry in differences if entry.metric == metric), None)


def pooled(differences: Sequence[Difference], metric: str) -> Estimate | None:
    """Its value over all seeds."""
    found = difference(differences, metric)
    return None if found is None else found.pooled


def answers(outcome: ExperimentOutcome) -> list[str]:
    """What the experiment says, a sentence per question; only what an interval carries is called a difference."""
    told = outcome.variants[:1] if outcome.comparisons else outcome.variants  # the others' gains are in the table
    found = [sentence for variant in told if (sentence := _of_variant(variant))]
    found += [sentence for pair in outcome.comparisons if (sentence := _of_comparison(pair))]
    found += [sentence for variant in outcome.variants[:1] if (sentence := _of_refiner(variant))]
    return found + _of_curve(outcome.curve)


def notes(outcome: ExperimentOutcome) -> list[str]:
    """What a reader must know before believing the figures."""
    found = [
        f"{run.variant}, seed {run.seed} is not complete: {run.reason.splitlines()[0] if run.reason else 'unknown'}"
        for run in outcome.failures
    ]
    found += [f"uneven comparison: {warning}" for pair in outcome.comparisons for warning in pair.warnings]
    for variant in outcome.variants:
        own = [run.seed for run in outcome.of(variant.name)]
        if len(own) < len(outcome.seeds):
            found.append(f"{variant.name} was run with {len(own)} of {len(outcome.seeds)} seeds: {own}")
    if len(outcome.seeds) == 1:
        found.append("one seed: intervals are over prompts only, another seed may differ by more")
    return found


def _of_variant(variant: VariantOutcome) -> str:
    gain = pooled(variant.gains, "accuracy")
    if gain is None:
        return ""
    first, last = variant.means[0]["accuracy"], variant.means[-1]["accuracy"]
    held_out = pooled(variant.gains, "accuracy/heldout")
    more = f"; held out {change(held_out)}" if held_out is not None else ""
    return f"**{variant.name}**: accuracy {percent(first)} to {percent(last)} %, {change(gain)} points{more}."


def _of_comparison(pair: Comparison) -> str:
    gap = pooled(pair.differences, "accuracy")
    if gap is None:
        return ""
    uneven = " (uneven, see the note)" if pair.warnings else ""
    if not gap.excludes_zero:
        return (
            f"No difference between **{pair.variant}** and **{pair.baseline}** is shown: {change(gap)} points{uneven}."
        )
    way = "ahead of" if gap.value > 0 else "behind"
    return f"**{pair.variant}** is {way} **{pair.baseline}**: {change(gap)} points{uneven}."


def _of_refiner(variant: VariantOutcome) -> str:
    parts = []
    for metric, name in (("judge_balanced_accuracy", "judging"), ("fix_rate", "true fixes")):
        gain = pooled(variant.gains, metric)
        if gain is not None:
            verdict = ("rises" if gain.value > 0 else "falls") if gain.excludes_zero else "no change shown"
            parts.append(f"{name} {change(gain)} points ({verdict})")
    return f"The refiner of **{variant.name}**: {', '.join(parts)}." if parts else ""


def _of_curve(points: Sequence[CurvePoint]) -> list[str]:
    """The last iteration's best budget, for each strategy."""
    found = []
    for variant in dict.fromkeys(point.variant for point in points):
        last = max(point.iteration for point in points if point.variant == variant)
        own = [point for point in points if (point.variant, point.iteration) == (variant, last)]
        for strategy in dict.fromkeys(point.strategy for point in own if point.strategy != "none"):
            end = max((point for point in own if point.strategy == strategy), key=lambda point: point.budget)
            cost = end.tokens_per_point
            paid = f", {cost:,.0f} tokens per prompt and point" if cost is not None else ""
            found.append(
                f"Test-time search of **{variant}**, iteration {last}, {strategy.upper()} with {end.budget} nodes: "
                f"{change(end.gain)} points over the first answers{paid}."
            )
    return found
