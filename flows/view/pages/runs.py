"""Pages of runs and their iterations."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.reader import Reader, Rows
from flows.view.rendering import missing, reader_of, render
from flows.view.settings_apart import settings_apart
from spar_core.evaluation.headlines import HEADLINES
from storage import places
from storage.other_pages import run_pages

# Figures of a run's table, by the metric of `self_play`.
_FIGURES = {
    **HEADLINES["actor"],
    **HEADLINES["refiner"],
    "pair_truth": "pairs that are true %",
    "pair_ordered": "pairs in the true order %",
}


def run_list(request: Request) -> Response:
    """All runs of the home, the latest first, with what tells them apart and where the actor came from and to."""
    reader = reader_of(request)
    runs = reader.rows(
        "SELECT r.*, s.stages, s.seconds, s.iterations FROM runs r LEFT JOIN (SELECT run_id, count(*) AS stages, "
        "sum(seconds) AS seconds, max(iteration) AS iterations FROM stages GROUP BY run_id) s USING (run_id) "
        "ORDER BY created DESC, run_id"
    )
    configs = {run["run_id"]: json.loads(run["config"] or "{}") for run in runs}
    alike = [name for name, config in configs.items() if "method" in config]  # an experiment is none that is made
    apart = dict(zip(alike, settings_apart([configs[name] for name in alike]), strict=True))
    came = reader.rows(
        "SELECT run_id, arg_min(value, iteration) AS first, arg_max(value, iteration) AS last, "
        "max(iteration) AS newest FROM eval_scores WHERE benchmark = 'self_play' AND role = 'actor' "
        "AND metric = 'accuracy' AND iteration IS NOT NULL GROUP BY run_id"
    )
    shown = {"runs": runs, "apart": apart, "came": {row["run_id"]: row for row in came}}
    return render(request, "runs.html", shown)


def run(request: Request) -> Response:
    """One run: its iterations beside one another, what the gate decided, its configuration."""
    name = request.path_params["run_id"]
    reader = reader_of(request)
    found = _run(reader, name)
    stages = stages_of(reader, name)
    figures = figures_of(reader, name)
    shown = {
        "run": found,
        "iterations": sorted({stage["iteration"] for stage in stages if stage["iteration"] is not None}),
        "figures": figures,
        "names": names_of(figures),
        "totals": totals_of(stages),
        "loop": loop_of(reader, name, None),
        "promotions": reader.rows("SELECT * FROM promotions WHERE run_id = ? ORDER BY time", [name]),
        "models": models_of(reader, name),
        "others": run_pages(reader.home, name),
        "config": json.dumps(json.loads(found["config"] or "{}"), indent=2, ensure_ascii=False),
    }
    return render(request, "run.html", shown)


def iteration(request: Request) -> Response:
    """One iteration: its loop with numbers, its stages, what the gate decided on its models."""
    name, text = request.path_params["run_id"], request.path_params["iteration"]
    reader = reader_of(request)
    found = _run(reader, name)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    stages = [stage for stage in stages_of(reader, name) if stage["iteration"] == number]
    models = [model for model in models_of(reader, name) if model["iteration"] == number]
    if not stages and not models:
        raise missing(f"run {name} has no iteration {text}")
    numbers = [row["iteration"] for row in reader.rows(
        "SELECT DISTINCT iteration FROM stages WHERE run_id = ? AND iteration IS NOT NULL ORDER BY 1", [name]
    )]  # fmt: skip
    shown = {
        "run": found,
        "number": number,
        "numbers": numbers,
        "others": run_pages(reader.home, name, number),
        "stages": stages,
        "figures": figures_of(reader, name).get(number, {}),
        "names": _FIGURES,
        "loop": loop_of(reader, name, number),
        "promotions": reader.rows("SELECT * FROM promotions WHERE run_id = ? AND iteration = ?", [name, number]),
        "models": models,
        "reasons": reader.rows(
            "SELECT stage, reason, count(*) AS n FROM drops WHERE run_id = ? AND iteration = ? GROUP BY ALL "
            "ORDER BY n DESC LIMIT 30",
            [name, number],
        ),
    }
    return render(request, "iteration.html", shown)


class Box(NamedTuple):
    """A station of the loop: how many there are, and where they can be looked at."""

    name: str
    number: int
    place: str


STATIONS = {
    "prompts": ("prompts", ""),
    "answers": ("responses", ""),
    "called failing": ("judgements", "AND verdict = 'NO'"),
    "trees": ("trees", ""),
    "mended": ("trees", "AND accepted_node_id IS NOT NULL"),
    "pairs": ("preference_pairs", ""),
    "examples": ("refiner_examples", ""),
}


def loop_of(reader: Reader, run_id: str, number: int | None) -> list[Box]:
    """The loop's stations in order, with their numbers in one iteration, or in all."""
    counts = station_counts(reader, run_id)
    chosen = list(counts.values()) if number is None else [counts.get(number, {})]
    asked = {"run": run_id} | ({} if number is None else {"iteration": str(number)})
    prompts, trees = places.prompts(**asked, used="self-play"), places.trees(**asked, of="training")
    mended = places.trees(**asked, of="training", outcome="changed")
    made = [places.pairs(**asked), places.examples(**asked)]
    addresses = dict(zip(STATIONS, [prompts, prompts, prompts, trees, mended, *made], strict=True))
    return [Box(name, sum(each.get(name, 0) for each in chosen), addresses[name]) for name in STATIONS]


def station_counts(reader: Reader, run_id: str) -> dict[int | None, dict[str, int]]:
    """How much there is at every station of the loop, by iteration; stations without anything are left out."""
    queries = [
        f"SELECT '{name}' AS station, iteration, count(*) AS n FROM {table} WHERE run_id = ? {more} GROUP BY iteration"
        for name, (table, more) in STATIONS.items()
    ]
    found: dict[int | None, dict[str, int]] = {}
    for row in reader.rows(" UNION ALL ".join(queries), [run_id] * len(queries)):
        found.setdefault(row["iteration"], {})[row["station"]] = row["n"]
    return found


def _run(reader: Reader, name: str) -> dict[str, Any]:
    found = reader.one("SELECT * FROM runs WHERE run_id = ?", [name])
    if found is None:
        raise missing(f"no run {name} in this home")
    return found


def stages_of(reader: Reader, name: str) -> Rows:
    """A run's stages with the tokens they took when they were computed, in the order of iterations and of time."""
    return reader.rows(
        "SELECT s.*, a.tokens_read, a.tokens_written FROM stages s LEFT JOIN (SELECT DISTINCT ON (stage, stage_key) * "
        "FROM artifacts) a USING (stage, stage_key) WHERE run_id = ? ORDER BY iteration, started, stage",
        [name],
    )


def figures_of(reader: Reader, name: str) -> dict[int, dict[str, dict[str, Any]]]:
    """By iteration and metric."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for row in reader.rows(
        "SELECT * FROM eval_scores WHERE run_id = ? AND benchmark = 'self_play' AND list_contains(?, metric)",
        [name, list(_FIGURES)],
    ):
        found.setdefault(row["iteration"], {})[row["metric"]] = row
    return found


def names_of(figures: Mapping[int, Mapping[str, Any]]) -> dict[str, str]:
    """What the figures of a run are called, by metric: those that any of its iterations has."""
    return {metric: said for metric, said in _FIGURES.items() if any(metric in row for row in figures.values())}


def totals_of(stages: Rows) -> Mapping[int, Mapping[str, float]]:
    """Seconds, tokens written, and rows dropped, by iteration."""
    totals: dict[int, dict[str, float]] = {}
    for stage in stages:
        own = totals.setdefault(stage["iteration"], {"seconds": 0.0, "dropped": 0, "tokens": 0})
        own["seconds"] += stage["seconds"] or 0.0
        own["dropped"] += stage["rows_dropped"] or 0
        own["tokens"] += stage["tokens_written"] or 0
    return totals


def models_of(reader: Reader, name: str) -> Rows:
    """A run's registered models, by iteration."""
    return reader.rows("SELECT DISTINCT * FROM models WHERE run_id = ? ORDER BY iteration, role, version", [name])


ROUTES: list[BaseRoute] = [
    Route("/", run_list),
    Route("/runs", run_list),
    Route("/runs/{run_id}", run),
    Route("/runs/{run_id}/{iteration}", iteration),
]
