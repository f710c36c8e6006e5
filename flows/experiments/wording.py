"""How the figures of an experiment are written down, and what they come to in words."""

from collections.abc import Sequence

from flows.experiments.outcome import Comparison, CurvePoint, Difference, ExperimentOutcome, VariantOutcome
from spar_core.evaluation.estimate import Estimate

ACCURACIES = {"accuracy": "all", "accuracy/iid": "in distribution", "accuracy/heldout": "held out"}
REFINER = {
    "judge_balanced_accuracy_own": "judging its own actor's answers, balanced",
    "judge_balanced_accuracy_rewrites": "judging its own rewrites, balanced",
    "judge_approved_rewrites": "own rewrites it approves",
    "judge_approved_right_rewrites": "of these truly right",
    "judge_balanced_accuracy_pool": "judging the common pool, balanced",
    "judge_balanced_accuracy": "judging the first actor's answers, balanced",
    "self_evaluation_bias": "self-evaluation bias",
    "fix_rate": "failing answers truly fixed",
    "fix_rate/heldout": "the same, held out",
    "fix_rate_in_use": "failing answers truly fixed, told by rules what is wrong",
    "fix_rate_in_use/heldout": "the same, held out",
    "accepted_below_depth_1": "of these, accepted below depth 1",
}
COMPARED = {
    "judge_balanced_accuracy_own": "judging own answers",
    "judge_balanced_accuracy_rewrites": "judging own rewrites",
    "judge_balanced_accuracy_pool": "judging the common pool",
    "judge_balanced_accuracy": "judging the first actor's answers",
    "fix_rate": "true fixes",
    "fix_rate_in_use": "true fixes, told by rules what is wrong",
}
"""Of the refiner, between variants."""
FEWEST_SEEDS = 5
_NEVER = "-"


def percent(estimate: Estimate | None) -> str:
    """`71.9`."""
    return _NEVER if estimate is None else f"{100 * estimate.value:.1f}"


def interval(estimate: Estimate | None) -> str:
    """`71.9 [70.1, 73.5]`, in percent."""
    return _NEVER if estimate is None else estimate.shown()


def change(difference: Difference | None) -> str:
    """`+4.5 [3.7, 5.5]` over prompts and, with several seeds, `; seeds [1.2, 7.8]`, in points."""
    if difference is None:
        return _NEVER
    seeds = "" if difference.over_seeds is None else f"; seeds {difference.over_seeds.bounds()}"
    return f"{points(difference.pooled)} {difference.pooled.bounds()}{seeds}"


def points(estimate: Estimate | None) -> str:
    """`+4.5`, in points."""
    return _NEVER if estimate is None else f"{100 * estimate.value:+.1f}"


def count(value: float | None) -> str:
    """Whole numbers as they are, means with one digit."""
    if value is None:
        return _NEVER
    return f"{value:,.0f}" if abs(value - round(value)) < 0.05 else f"{value:,.1f}"


def difference(differences: Sequence[Difference], metric: str) -> Difference | None:
    """The difference of one metric."""
    return next((entry for entry in differences if entry.metric == metric), None)


def answers(outcome: ExperimentOutcome) -> list[str]:
    """What the experiment says, a sentence per question.

    A difference is called one where its interval over prompts and that over seeds both exclude zero.
    """
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
        found.append("one seed: nothing is known of other seeds, so no difference is called one")
    elif len(outcome.seeds) < FEWEST_SEEDS:
        found.append(
            f"{len(outcome.seeds)} seeds: intervals over seeds are Student's t with {len(outcome.seeds) - 1} degree(s) "
            f"of freedom; take {FEWEST_SEEDS} seeds or more where a seed is the unit"
        )
    return found


def _both(difference: Difference) -> str:
    """`[43.0, 47.0] over prompts, [40.1, 49.9] over 3 seeds`."""
    seeds = difference.over_seeds
    more = "one seed" if seeds is None else f"{seeds.bounds()} over {seeds.n} seeds"
    return f"{difference.pooled.bounds()} over prompts, {more}"


def _caution(difference: Difference) -> str:
    """What is not shown of a difference, and between which bounds it lies; nothing of one that is shown."""
    if difference.is_shown:
        return ""
    if difference.pooled.excludes_zero and difference.over_seeds is None:
        return "shown for this seed alone"
    known = [each for each in (difference.pooled, difference.over_seeds) if each is not None]
    low, high = min(each.ci_low for each in known), max(each.ci_high for each in known)
    where = f"it lies between {100 * low:.1f} and {100 * high:.1f}"
    return f"not shown for other seeds: {where}" if difference.pooled.excludes_zero else f"not shown: {where}"


def _of_variant(variant: VariantOutcome) -> str:
    gain = difference(variant.gains, "accuracy")
    if gain is None:
        return ""
    first, last = variant.means[0]["accuracy"], variant.means[-1]["accuracy"]
    told = [
        f"{name}{points(each.pooled)} points, {_both(each)}{f' ({caution})' if (caution := _caution(each)) else ''}"
        for name, each in (("", gain), ("held out ", difference(variant.gains, "accuracy/heldout")))
        if each is not None
    ]
    return f"**{variant.name}**: accuracy {percent(first)} to {percent(last)} %: {'; '.join(told)}."


def _of_comparison(pair: Comparison) -> str:
    gap = difference(pair.differences, "accuracy")
    if gap is None:
        return ""
    uneven = " (uneven, see the note)" if pair.warnings else ""
    figures = f"{points(gap.pooled)} points, {_both(gap)}{uneven}"
    if gap.is_shown:
        way = "ahead of" if gap.pooled.value > 0 else "behind"
        return f"**{pair.variant}** is {way} **{pair.baseline}**: {figures}."
    return f"A difference between **{pair.variant}** and **{pair.baseline}** is {_caution(gap)}; {figures}."


def _of_refiner(variant: VariantOutcome) -> str:
    parts = []
    used = ("judge_balanced_accuracy_own", "judge_balanced_accuracy_rewrites")
    told = used if any(difference(variant.gains, metric) for metric in used) else ("judge_balanced_accuracy",)
    for metric in (*told, "fix_rate", "fix_rate_in_use"):
        name, gain = COMPARED[metric], difference(variant.gains, metric)
        if gain is not None:
            verdict = (
                ("rises" if gain.pooled.value > 0 else "falls") if gain.is_shown else f"a change is {_caution(gain)}"
            )
            parts.append(f"{name} {points(gain.pooled)} points, {_both(gain)} ({verdict})")
    return f"The refiner of **{variant.name}**: {'; '.join(parts)}." if parts else ""


def _of_curve(curve: Sequence[CurvePoint]) -> list[str]:
    """The last iteration's best budget, for each strategy."""
    found = []
    for variant in dict.fromkeys(point.variant for point in curve):
        last = max(point.iteration for point in curve if point.variant == variant)
        own = [point for point in curve if (point.variant, point.iteration) == (variant, last)]
        for strategy in dict.fromkeys(point.strategy for point in own if point.strategy != "none"):
            end = max((point for point in own if point.strategy == strategy), key=lambda point: point.budget)
            if end.gain is None:
                continue
            cost, caution = end.tokens_per_point, _caution(end.gain)
            paid = f", {cost:,.0f} tokens per prompt and point" if cost is not None else ""
            found.append(
                f"Test-time search of **{variant}**, iteration {last}, {strategy.upper()} with {end.budget} nodes: "
                f"{points(end.gain.pooled)} points over the first answers, {_both(end.gain)}"
                f"{f' ({caution})' if caution else ''}{paid}."
            )
    return found
