"""What MLflow says of a model version in words: what it is, from what, how good, why it has its alias."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from prefect.utilities.urls import url_for

from spar_core.benchmarks import benchmark, names
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.headlines import HEADLINES
from spar_core.records import ModelRole
from storage import places
from storage.addresses import view_page
from storage.catalog import Catalog, open_catalog
from storage.entries import ModelEntry, Promotion
from storage.home import Home
from storage.ledger import Ledger
from storage.registry import Registry
from storage.views import TRAININGS

_log = logging.getLogger(__name__)
_SAID = {
    "first": "It is a champion, the first of its lineage",
    "promoted": "It was promoted to champion",
    "refused": "It is a candidate and was not promoted",
    "unmeasured": "It is a candidate and could not be compared",
}


class _Score(NamedTuple):
    name: str
    own: Estimate
    parent: Estimate | None


def describe_models(home: Home, versions: Iterable[tuple[ModelRole, int]]) -> None:
    """Write the description of model versions; what goes wrong is a warning: the tables hold all of it."""
    ledger = Ledger(home)
    try:
        registry = Registry(home)
        with open_catalog(home) as catalog:
            for role, version in versions:
                entry = next(e for e in reversed(ledger.models()) if (e.role, e.version) == (role, version))
                registry.describe(role, version, model_card(home, ledger, catalog, entry))
    except Exception as error:  # noqa: BLE001 - a description is for reading: the model is registered without it
        _log.warning("a model is not described in MLflow: %s: %s", type(error).__name__, error)


def model_card(home: Home, ledger: Ledger, catalog: Catalog, entry: ModelEntry) -> str:
    """The description of a registered model, as Markdown."""
    parent = next((e for e in ledger.models() if e.role == entry.role and e.digest == entry.parent_digest), None)
    blocks = [
        _what(entry),
        _from_what(catalog, entry, parent),
        _scores_table(list(_scores(catalog, entry)), parent),
        _why(ledger.promotion(entry.run_id, entry.role, entry.version)),
        _links(home, ledger, entry),
    ]
    return "\n\n".join(block for block in blocks if block)


def _what(entry: ModelEntry) -> str:
    when = "after its warm start" if entry.iteration == 0 else f"after iteration {entry.iteration}"
    return f"The {entry.role} of run `{entry.run_id}` {when}."


def _from_what(catalog: Catalog, entry: ModelEntry, parent: ModelEntry | None) -> str:
    begun = f"`{entry.role}/{parent.version}`" if parent else f"weights `{(entry.parent_digest or 'unknown')[:12]}`"
    if entry.train_stage_key is None:
        return f"It has the weights of {begun}: nothing was trained."
    keys = catalog.rows(
        f"SELECT stage_key FROM {TRAININGS} WHERE role = ? AND version = ? ORDER BY stage_key = ?, stage_key",
        [entry.role, entry.version, entry.train_stage_key],
    )
    steps = [_training(catalog, row["stage_key"]) for row in keys]
    return f"Trained from {begun} {', then '.join(steps)}."


def _training(catalog: Catalog, key: str) -> str:
    rows = catalog.rows("SELECT stage FROM artifacts WHERE stage_key = ? AND state = 'whole'", [key])
    made = catalog.rows(
        "SELECT a.stage, a.rows_out, a.stage_key FROM lineage l JOIN artifacts a ON a.stage_key = l.parent_id "
        "WHERE l.child_kind = 'artifact' AND l.child_id = ? AND l.parent_kind = 'artifact' GROUP BY ALL",
        [key],
    )
    data = " and ".join(f"{row['rows_out']} rows of `{row['stage']}` (`{row['stage_key'][:12]}`)" for row in made)
    stage = rows[0]["stage"] if rows else "a training that is gone"
    return f"by `{stage}` on {data or 'data that are gone'}"


def _scores(catalog: Catalog, entry: ModelEntry) -> Iterator[_Score]:
    found = catalog.rows(
        "SELECT model_digest, benchmark, metric, arg_max(value, n) AS value, arg_max(ci_low, n) AS ci_low, "
        "arg_max(ci_high, n) AS ci_high, max(n) AS n FROM eval_scores "
        "WHERE role = ? AND model_digest IN (?, ?) AND settings = '' "
        "AND (benchmark <> 'self_play' OR run_id = ?) GROUP BY ALL ORDER BY benchmark, metric",
        [entry.role, entry.digest, entry.parent_digest or "", entry.run_id],
    )
    figures = {(r["model_digest"], r["benchmark"], r["metric"]): _estimate(r) for r in found if r["value"] is not None}
    wanted = [("self_play", metric, name) for metric, name in HEADLINES[entry.role].items()]
    for name in dict.fromkeys(row["benchmark"] for row in found):
        if name in names():
            wanted += [(name, metric, f"{name} {metric} %") for metric in benchmark(name).headlines]
    for source, metric, shown in wanted:
        own = figures.get((entry.digest, source, metric))
        if own is not None and own.known:
            yield _Score(shown, own, figures.get((entry.parent_digest or "", source, metric)))


def _estimate(row: dict[str, Any]) -> Estimate:
    return Estimate(row["value"], row["ci_low"], row["ci_high"], row["n"])


def _scores_table(scores: list[_Score], parent: ModelEntry | None) -> str:
    if not scores:
        return "It was not measured."
    before = f"`{parent.role}/{parent.version}`" if parent else "before"
    lines = [f"| with 95 % intervals | this | {before} |", "| --- | --- | --- |"]
    return "\n".join(
        [*lines, *(f"| {s.name} | {s.own.shown()} | {s.parent.shown() if s.parent else ''} |" for s in scores)]
    )


def _why(decided: Promotion | None) -> str:
    if decided is None:
        return "It is a candidate: the gate has not decided on it yet."
    return f"{_SAID[decided.decision]} (lineage `{decided.lineage}`): {decided.reason}."


def _links(home: Home, ledger: Ledger, entry: ModelEntry) -> str:
    links = {
        "what it learned from": view_page(home, places.model(entry.role, entry.version)),
        f"iteration {entry.iteration}": view_page(home, places.iteration(entry.run_id, entry.iteration)),
        "the run": view_page(home, places.run(entry.run_id)),
        "its report": view_page(home, places.report(entry.run_id)),
    }
    run = ledger.run(entry.run_id)
    flow_run = None if run is None or run.activity is None else run.activity.flow_run
    address = url_for("flow-run", obj_id=flow_run) if flow_run else None
    if address:
        links["in Prefect"] = address
    shown = " · ".join(f"[{name}]({link})" for name, link in links.items())
    return f"{shown} (open while `spar ui --home {home.root}` runs)"
