"""What is compared: a file of answers, a model, or an iteration of a run, each as measured items by metric."""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from spar_core.errors import ConfigError
from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.settings import settings_words
from storage.artifacts import ArtifactStore
from storage.catalog import Catalog
from storage.home import Home

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


class _Named(NamedTuple):
    """What a reference means in a home: the models that are measured, and the run they are of."""

    name: str
    models: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]

    @property
    def digests(self) -> list[str]:
        """Of the models."""
        return [model["digest"] for model in self.models]


def home_sides(catalog: Catalog, home: Home, before: str, after: str, benchmark: str) -> tuple[Side, Side]:
    """Two models (`actor/3`), iterations of runs (`RUN`, its last; `RUN:2`) or runs of `spar eval`, with what a
    benchmark measured on them.

    Answers count that both gave under equal settings: the standard, else those with most items; the names say which.

    Raises:
        ConfigError: there is no such model or run here, or the benchmark was not run on both of them under equal
            settings; says what there is.
    """
    first, second = _named(catalog, before), _named(catalog, after)
    ours, theirs = (_settings(catalog, benchmark, side) for side in (first, second))
    shared = [settings for settings in ours if settings in theirs]
    if not shared:
        said = "; ".join(
            f"{side.name}: {' / '.join(settings_words(each) or 'standard' for each in found)}"
            for side, found in ((first, ours), (second, theirs))
        )
        raise ConfigError(f"{benchmark} measured these two under other settings ({said}): measure both alike")
    chosen = "" if "" in shared else shared[0]
    return _side(catalog, home, first, benchmark, chosen), _side(catalog, home, second, benchmark, chosen)


def _named(catalog: Catalog, reference: str) -> _Named:
    if _MODEL.fullmatch(reference):
        models = catalog.rows("SELECT * FROM models WHERE role || '/' || version = ?", [reference])
        if not models:
            raise ConfigError(f"there is no model {reference} here; `spar sql 'SELECT role, version FROM models'`")
        return _Named(reference, models[:1], {})
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
    if not models and number is None:  # of `spar eval`: its items say whose they are
        models = catalog.rows(
            "SELECT DISTINCT run_id, role, model_digest AS digest, NULL AS iteration FROM eval_items WHERE run_id = ?",
            [run_id],
        )
        if models:
            return _Named(run_id, models, json.loads(runs[0]["config"] or "{}"))
    if not models:
        wanted = "of any iteration" if number is None else f"of iteration {number}"
        raise ConfigError(f"run {run_id} has no models {wanted}; it may not have come that far")
    return _Named(f"{run_id}:{models[0]['iteration']}", models, json.loads(runs[0]["config"] or "{}"))


def _settings(catalog: Catalog, benchmark: str, side: _Named) -> list[str]:
    """Under which settings its models were measured, those with most items first.

    Raises:
        ConfigError: under none.
    """
    rows = catalog.rows(
        "SELECT settings FROM eval_items WHERE benchmark = ? AND list_contains(?, model_digest) AND value IS NOT NULL "
        "GROUP BY settings ORDER BY count(*) DESC, settings",
        [benchmark, side.digests],
    )
    if rows:
        return [row["settings"] for row in rows]
    measured = catalog.rows(
        "SELECT DISTINCT benchmark FROM eval_items WHERE list_contains(?, model_digest) ORDER BY 1", [side.digests]
    )
    there = ", ".join(row["benchmark"] for row in measured) or "nothing"
    raise ConfigError(
        f"{benchmark} was not run on {side.name} (measured there: {there}); run `spar eval {benchmark} --model ...`, "
        "or name another one with --benchmark"
    )


def _side(catalog: Catalog, home: Home, side: _Named, benchmark: str, settings: str) -> Side:
    found: dict[str, list[Observation]] = {}
    for model in side.models:
        rows = catalog.rows(
            "SELECT DISTINCT metric, item_id, cluster_id, value, detail FROM eval_items WHERE benchmark = ? "
            "AND role = ? AND model_digest = ? AND item_id <> '' AND value IS NOT NULL "
            "AND settings = ? AND (? <> ? OR run_id = ?) ORDER BY metric, cluster_id, item_id",
            [benchmark, model["role"], model["digest"], settings, benchmark, _SELF_PLAY, model["run_id"]],
        )
        for metric in dict.fromkeys(row["metric"] for row in rows):
            own = (row for row in rows if row["metric"] == metric)
            found[metric] = _observations(metric, own, benchmark == _SELF_PLAY)
    if benchmark != _SELF_PLAY:
        found = _with_wholes(found)
    name = f"{side.name} ({settings_words(settings)})" if settings else side.name
    return Side(name, found, _cost(catalog, home, side.models[0]), side.config)


def _with_wholes(found: Mapping[str, list[Observation]]) -> dict[str, list[Observation]]:
    """The metrics, and before them those of which items are kept by kind alone: `instruction_strict` of all kinds."""
    wholes: dict[str, list[Observation]] = {}
    for metric, observed in found.items():
        whole, _, kind = metric.partition("/")
        if kind and whole not in found:
            keys = (cast("tuple[str, str]", one.key) for one in observed)
            named = ((f"{item} {kind}", truth) for item, truth in keys)
            wholes.setdefault(whole, []).extend(one._replace(key=key) for one, key in zip(observed, named, strict=True))
    return {**wholes, **found}


def _cost(catalog: Catalog, home: Home, model: Mapping[str, Any]) -> dict[str, float]:
    """What its run took up to its iteration: seconds, and tokens of its stages, whichever run computed them."""
    rows = catalog.rows(
        "SELECT stage, stage_key, seconds FROM stages WHERE run_id = ? AND (? IS NULL OR iteration <= ?) "
        "AND state = 'completed'",
        [model["run_id"], model["iteration"], model["iteration"]],
    )
    store, counts = ArtifactStore(home), {"tokens read": 0.0, "tokens written": 0.0}
    for stage, key in {(row["stage"], row["stage_key"]) for row in rows}:
        if (artifact := store.get(stage, key)) is not None:
            metrics = artifact.manifest().metrics
            counts["tokens read"] += metrics.get("prompt_tokens", 0)
            counts["tokens written"] += metrics.get("completion_tokens", 0)
    return {"seconds": sum(row["seconds"] or 0.0 for row in rows), **counts}


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
