"""What the result page says of test-time search."""

from flows.experiments.document import Block, Heading, Table, Text
from flows.experiments.outcome import ExperimentOutcome
from flows.experiments.wording import change, count, interval, percent


def search_tables(outcome: ExperimentOutcome) -> list[Block]:
    """Accuracy by budget, and the strategies against one another."""
    sources = sorted({source for point in outcome.curve for source in point.by_source if source})
    rows = []
    for point in outcome.curve:
        cost = point.tokens_per_point
        rows.append(
            [
                point.variant,
                str(point.iteration),
                "no search" if point.strategy == "none" else point.strategy.upper(),
                str(point.budget or "-"),
                interval(point.accuracy),
                change(point.gain),
                count(round(point.tokens)),
                "-" if cost is None else count(round(cost)),
                *(f"{100 * point.by_source[source]:.1f}" if source in point.by_source else "-" for source in sources),
            ]
        )
    columns = ["variant", "iteration", "search", "nodes", "right, %", "gain, points", "tokens", "tokens per point"]
    return [
        Text(
            "The actor's first answer to each prompt is judged; from an answer voted down the refiner searches. The "
            "accepted rewrite is the final answer, else the best node (the answer itself, if nothing was better). "
            "Smaller budgets are the beginnings of the search with the largest. Tokens: completion tokens per "
            "prompt for judging, rewrites and votes on them; per point: divided by the points gained."
        ),
        Table([*columns, *(f"{source}, %" for source in sources)], rows, frozenset({0, 2})),
        *_gaps(outcome),
        *_variants(outcome),
    ]


def _gaps(outcome: ExperimentOutcome) -> list[Block]:
    rows = [
        [
            gap.variant,
            str(gap.iteration),
            f"{gap.strategy.upper()} - {gap.other.upper()}",
            str(gap.budget),
            percent(gap.fixed),
            percent(gap.other_fixed),
            change(gap.gap),
        ]
        for gap in outcome.strategy_gaps
    ]
    if not rows:
        return []
    return [
        Heading("Strategies at equal budgets", 3),
        Text("Of the prompts whose first answer is wrong: the share that each answers right in the end."),
        Table(
            ["variant", "iteration", "strategies", "nodes", "first, %", "second, %", "points"], rows, frozenset({0, 2})
        ),
    ]


def _variants(outcome: ExperimentOutcome) -> list[Block]:
    rows = [
        [
            f"{gap.variant} - {gap.baseline}",
            str(gap.iteration),
            "no search" if gap.strategy == "none" else gap.strategy.upper(),
            str(gap.budget or "-"),
            change(gap.gap),
        ]
        for gap in outcome.variant_gaps
    ]
    if not rows:
        return []
    return [
        Heading("Variants under equal searches", 3),
        Text("Final answers that are right, the same prompts paired."),
        Table(["variants", "iteration", "search", "nodes", "points"], rows, frozenset({0, 2})),
    ]
