"""What a report of a run shows, gathered from the catalogue, the ledger and the artifacts' manifests."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flows.comparing.differences import Difference, compare
from flows.comparing.sides import home_sides
from flows.reporting.curves import Chart, chart
from flows.showing.score_rows import ScoreRow
from flows.showing.summary import benchmark_table
from flows.view.pages.runs import STATIONS, figures_of, models_of, names_of, stages_of, station_counts, totals_of
from flows.view.reader import Reader, Rows
from spar_core.errors import ConfigError, StorageError
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.measures import BENCHMARK as SELF_PLAY
from storage.artifacts import ArtifactStore
from storage.catalog import open_catalog
from storage.home import Home
from storage.ledger import Ledger
from storage.manifest_figures import drop_reasons, tokens

_SAME_ITEMS = {
    "accuracy": "accuracy",
    "fix": "fix_rate",
    "fix_in_use": "fix_rate_in_use",
    "judge": "judge_balanced_accuracy",
}
"""Metrics of items that every iteration is measured on alike, and the figures they make."""
MOST_STAGES = 400  # rows of the table of stages
_FACTS = {
    "models.actor": "actor begins as",
    "models.refiner": "refiner begins as",
    "profile": "profile",
    "seed": "seed",
    "iterations": "iterations",
    "prompts.source": "prompts from",
    "prompts.per_iteration": "prompts per iteration",
    "method.pairs.method": "pairs by",
    "method.search.strategy": "search",
    "method.search.node_budget": "rewrites per tree at most",
    "method.judging.votes": "votes per judgement",
    "method.judging.anchor": "judging anchored in",
    "promotion.rule": "the gate's rule",
}


class IterationRow(NamedTuple):
    """One iteration: how much of everything was made, what was lost, how long it took."""

    number: int
    made: Mapping[str, int]
    """By station of the loop."""
    dropped: int
    seconds: float
    tokens: int | None


class BenchmarkRow(NamedTuple):
    """A headline score of a benchmark, by iteration."""

    place: str
    metric: str
    by_iteration: dict[int, ScoreRow]


class RunReport(NamedTuple):
    """Everything of a run's page but its trees. Rows are those of the catalogue."""

    run: dict[str, Any]
    stations: Sequence[str]
    facts: dict[str, str]
    iterations: list[IterationRow]
    charts: list[Chart]
    names: dict[str, str]
    """Figures of self-play: what they are called, by metric."""
    figures: Mapping[int, Mapping[str, Mapping[str, Any]]]
    changes: dict[str, Difference]
    """Last iteration minus the warm start over the same items, by metric."""
    benchmarks: list[BenchmarkRow]
    measured: list[ScoreRow]
    """Headline scores that this very run measured, as `spar eval` does."""
    promotions: Rows
    models: Rows
    stages: Rows
    stages_left_out: int
    config: str


def run_report(reader: Reader, run_id: str) -> RunReport:
    """Gather what a run's page shows.

    Raises:
        StorageError: there is no such run, or the home cannot be read.
    """
    home = reader.home
    found = reader.one("SELECT * FROM runs WHERE run_id = ?", [run_id])
    if found is None:
        raise StorageError(f"no run {run_id!r} in {home.root}; {_known(home)}")
    stages = _with_costs(home, stages_of(reader, run_id))
    numbers = sorted({stage["iteration"] for stage in stages if stage["iteration"] is not None})
    figures = figures_of(reader, run_id)
    names = names_of(figures)
    benchmarks = _benchmarks(home, run_id)
    config = json.loads(found["config"] or "{}")
    return RunReport(
        run=found,
        stations=tuple(STATIONS),
        facts={said: value for key, said in _FACTS.items() if (value := _setting(config, key))},
        iterations=_iterations(reader, run_id, stages, numbers),
        charts=_charts(names, figures, benchmarks),
        names=names,
        figures=figures,
        changes=_changes(home, run_id, numbers),
        benchmarks=benchmarks,
        measured=_measured(reader, run_id),
        promotions=reader.rows("SELECT * FROM promotions WHERE run_id = ? ORDER BY time", [run_id]),
        models=models_of(reader, run_id),
        stages=stages[-MOST_STAGES:],
        stages_left_out=max(0, len(stages) - MOST_STAGES),
        config=json.dumps(config, indent=1, ensure_ascii=False),
    )


def _known(home: Home) -> str:
    runs = [run.run_id for run in Ledger(home).runs()]
    return f"runs there: {', '.join(runs)}" if runs else f"start one with `spar run --home {home.root}`"


def _setting(config: Mapping[str, Any], key: str) -> str:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "" if value is None else str(value)


def _with_costs(home: Home, stages: Rows) -> Rows:
    """The stages with their tokens and reasons of drops, where their artifacts are still there."""
    store = ArtifactStore(home)

    def costs(stage: dict[str, Any]) -> dict[str, Any]:
        artifact = store.get(stage["stage"], stage["stage_key"]) if stage["state"] == "completed" else None
        if artifact is None:
            return {"tokens": None, "reasons": ""}
        manifest = artifact.manifest()
        return {"tokens": tokens(manifest), "reasons": drop_reasons(manifest)}

    return [stage | costs(stage) for stage in stages]


def _iterations(reader: Reader, run_id: str, stages: Rows, numbers: list[int]) -> list[IterationRow]:
    totals, counts = totals_of(stages), station_counts(reader, run_id)
    rows = []
    for number in numbers:
        asked = [s["tokens"] for s in stages if s["iteration"] == number and s["tokens"] is not None]
        dropped, seconds = totals[number]["dropped"], totals[number]["seconds"]
        rows.append(IterationRow(number, counts.get(number, {}), int(dropped), seconds, sum(asked) if asked else None))
    return rows


def _benchmarks(home: Home, run_id: str) -> list[BenchmarkRow]:
    rows: dict[tuple[str, str, str], BenchmarkRow] = {}
    for number, row in benchmark_table(home, run_id):
        key = (row.place, row.role, row.metric)
        rows.setdefault(key, BenchmarkRow(_named(row), row.metric, {})).by_iteration[number] = row
    return list(rows.values())


def _measured(reader: Reader, run_id: str) -> list[ScoreRow]:
    rows = reader.rows(
        "SELECT DISTINCT benchmark, role, metric, settings, value, ci_low, ci_high, n FROM eval_scores "
        "WHERE run_id = ? AND benchmark <> ? ORDER BY benchmark, settings, role, metric",
        [run_id, SELF_PLAY],
    )
    scored = [ScoreRow(row["benchmark"], row["role"], row["metric"], _estimate(row), row["settings"]) for row in rows]
    return [row for row in scored if row.is_headline and row.estimate.known]


def _named(row: ScoreRow) -> str:
    return row.place if row.role == "actor" else f"{row.place}, {row.role}"


def _charts(
    names: Mapping[str, str], figures: Mapping[int, Mapping[str, Mapping[str, Any]]], benchmarks: list[BenchmarkRow]
) -> list[Chart]:
    wanted = {
        said: {number: _estimate(row[metric]) for number, row in figures.items() if metric in row}
        for metric, said in names.items()
    }
    for entry in benchmarks:
        points = {number: row.estimate for number, row in entry.by_iteration.items() if not row.in_units}
        wanted[f"{entry.place} {entry.metric} %"] = points
    drawn = (chart(title, {"": points}) for title, points in wanted.items())
    return [each for each in drawn if each is not None]


def _estimate(row: Mapping[str, Any]) -> Estimate:
    if row["value"] is None:
        return Estimate.nothing(n=row["n"])
    return Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])


def _changes(home: Home, run_id: str, numbers: list[int]) -> dict[str, Difference]:
    """Paired over common items; nothing where either end was not measured."""
    if len(numbers) < 2:
        return {}
    with open_catalog(home) as catalog:
        try:
            first, last = (f"{run_id}:{number}" for number in (numbers[0], numbers[-1]))
            found = compare(*home_sides(catalog, home, first, last, SELF_PLAY))
        except ConfigError:
            return {}
    return {_SAME_ITEMS[each.metric]: each for each in found if each.metric in _SAME_ITEMS}
