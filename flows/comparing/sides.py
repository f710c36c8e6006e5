"""What is compared: a file of answers, a model, or an iteration of a run, each as measured items by metric."""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.errors import ConfigError
from spar_core.evaluation.comparison import Observation
from storage.catalog import Catalog

_MODEL = re.compile(r"(actor|refiner)/\d+")
_RUN = re.compile(r"(?P<run>.+?)(?::(?P<iteration>\d+))?")
_SELF_PLAY = "self_play"
_JUDGING = "judge"  # metrics that begin so are balanced over the truth


class Side(NamedTuple):
    """One side: its name, its items by metric, and what it cost where that is known (tokens, seconds)."""

    name: str
    items: Mapping[str, list[Observation]]
    cost: Mapping[str, float]
    config: Mapping[str, Any]


def file_side(
    path: Path, benchmark_name: str, prompts: Path | None = None, data_dir: Path | None = None, skip_bad: bool = False
) -> Side:
    """A file of answers, scored by a benchmark's own scorer; `prompts` and `data_dir` as `spar eval` takes them.

    Raises:
        ConfigError: the benchmark scores no such files.
        DataError: naming file and line.
    """
    from flows.benchmarking.answer_files import score_answer_file
    from spar_core.benchmarks import benchmark
    from spar_core.benchmarks.plugin import FileRequest

    chosen = benchmark(benchmark_name)
    with tempfile.TemporaryDirectory(prefix="spar-compare-") as scratch:
        items = Path(scratch) / "items.jsonl"
        score_answer_file(chosen, FileRequest(path, items, prompts, data_dir, None, skip_bad))
        rows = [json.loads(line) for line in items.read_text(encoding="utf-8").splitlines()]
    if not rows or "strict" not in rows[0]:
        raise ConfigError(
            f"`{benchmark_name}` does not say of each item whether it is right; files are compared for ifeval and "
            "ifbench: score both with `spar eval --responses`, or compare models"
        )
    found: dict[str, list[Observation]] = {}
    for row in rows:
        for form in ("strict", "loose"):
            verdicts = row[form]
            found.setdefault(f"prompt_{form}", []).append(Observation(row["key"], row["key"], float(all(verdicts))))
            for place, verdict in enumerate(verdicts):
                key = (row["key"], place)
                found.setdefault(f"instruction_{form}", []).append(Observation(key, row["key"], float(verdict)))
    return Side(str(path), found, {}, {})


def home_side(catalog: Catalog, reference: str, benchmark: str) -> Side:
    """A model (`actor/3`), or a run's last or named iteration (`RUN`, `RUN:2`), with what a benchmark measured on it.

    Raises:
        ConfigError: there is no such model or run here, or the benchmark was not run on it; says what there is.
    """
    if _MODEL.fullmatch(reference):
        models = catalog.rows("SELECT * FROM models WHERE role || '/' || version = ?", [reference])
        if not models:
            raise ConfigError(f"there is no model {reference} here; `spar sql 'SELECT role, version FROM models'`")
        return _measured(catalog, reference, models[:1], benchmark, {})
    match = _RUN.fullmatch(reference)
    run_id = reference if match is None else match["run"]
    runs = catalog.rows("SELECT config FROM runs WHERE run_id = ?", [run_id])
    if not runs:
        known = ", ".join(
            row["run_id"] for row in catalog.rows("SELECT run_id FROM runs ORDER BY created DESC LIMIT 5")
        )
        raise ConfigError(
            f"{reference!r} is no file, no model such as actor/3, and no run here; runs: {known or 'none'} "
            "(RUN:2 is its iteration 2)"
        )
    number = None if match is None or match["iteration"] is None else int(match["iteration"])
    models = catalog.rows(
        "SELECT * FROM models WHERE run_id = ? AND iteration = coalesce(?, (SELECT max(iteration) FROM models "
        "WHERE run_id = ?))",
        [run_id, number, run_id],
    )
    if not models:
        raise ConfigError(f"run {run_id} has no models of iteration {number}; it may not have come that far")
    name = f"{run_id}:{models[0]['iteration']}"
    return _measured(catalog, name, models, benchmark, json.loads(runs[0]["config"] or "{}"))


def _measured(
    catalog: Catalog, name: str, models: list[dict[str, Any]], benchmark: str, config: Mapping[str, Any]
) -> Side:
    found: dict[str, list[Observation]] = {}
    for model in models:
        rows = catalog.rows(
            "SELECT DISTINCT metric, item_id, cluster_id, value, detail FROM eval_items WHERE benchmark = ? "
            "AND role = ? AND model_digest = ? AND item_id <> '' AND value IS NOT NULL "
            "AND settings = '' AND (? <> ? OR run_id = ?) ORDER BY metric, cluster_id, item_id",
            [benchmark, model["role"], model["digest"], benchmark, _SELF_PLAY, model["run_id"]],
        )
        for metric in dict.fromkeys(row["metric"] for row in rows):
            own = (row for row in rows if row["metric"] == metric)
            found[metric] = _observations(metric, own, benchmark == _SELF_PLAY)
    if not found:
        measured = catalog.rows(
            "SELECT DISTINCT benchmark FROM eval_items WHERE list_contains(?, model_digest) ORDER BY 1",
            [[model["digest"] for model in models]],
        )
        there = ", ".join(row["benchmark"] for row in measured) or "nothing"
        raise ConfigError(
            f"{benchmark} was not run on {name} (measured there: {there}); run `spar eval {benchmark} --model ...`, or "
            "name another one with --benchmark"
        )
    cost = catalog.rows(
        "SELECT sum(seconds) AS seconds FROM stages WHERE run_id = ? AND iteration <= ?",
        [models[0]["run_id"], models[0]["iteration"]],
    )[0]
    return Side(name, found, {"seconds": cost["seconds"] or 0.0}, config)


def _observations(metric: str, rows: Iterable[dict[str, Any]], by_prompt: bool) -> list[Observation]:
    """Items by prompt where they are each model's own texts (the mean over a prompt's, as the gate reads them)."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        truth = _truth(row["detail"]) if metric.startswith(_JUDGING) else ""
        key = row["cluster_id"] if by_prompt else row["item_id"]
        values.setdefault((key, row["cluster_id"], truth), []).append(row["value"])
    return [
        Observation((key, truth), cluster, sum(found) / len(found), truth)
        for (key, cluster, truth), found in values.items()
    ]


def _truth(detail: str) -> str:
    """What the checker knows of a judged text, as its item's detail says; empty where it says nothing."""
    try:
        told = json.loads(detail)
    except json.JSONDecodeError:
        return ""
    return str(told.get("truth", "")) if isinstance(told, dict) else ""
