"""The task that registers an iteration's models in MLflow and promotes what passes the gate."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prefect import task

from spar_core.config.run import PromotionConfig
from spar_core.records import EvalScore, ModelRole
from storage.artifacts import ArtifactRef
from storage.catalog import open_catalog
from storage.registry import CHAMPION, ModelVersion, Registration, Registry
from tasks.engines import ModelRef
from tasks.general_ability import ability_gate, measured_ability
from tasks.runtime import Runtime

_log = logging.getLogger(__name__)
GATE_METRIC: Mapping[ModelRole, str] = {"actor": "accuracy", "refiner": "judge_balanced_accuracy"}


class Trained(NamedTuple):
    """A model an iteration made: from which parent, with which data, by which stage."""

    role: ModelRole
    model: ModelRef
    parent: ModelRef
    training: ArtifactRef | None


@task(name="register", task_run_name="register-{iteration}")
def register_models(
    home: str,
    run_id: str,
    iteration: int,
    trained: Sequence[Trained],
    scores: ArtifactRef | None,
    gate: PromotionConfig,
) -> list[str]:
    """Register each model as `candidate` and promote it to `champion` if it passes the gate.

    Idempotent: asking again finds the versions that are there. Returns `name/version` of each model.
    """
    runtime = Runtime.of(home)
    tracker = runtime.tracking.tracker
    mlflow_run = tracker.open_iteration(run_id, iteration)
    measured = list(scores.read("eval_scores")) if scores is not None else []
    if measured:
        tracker.log_metrics(mlflow_run, {f"{s.role}/{s.metric}": s.value for s in measured}, step=iteration)
    registry = Registry(runtime.home)
    versions = []
    for entry in trained:
        own = {s.metric: s.value for s in measured if s.role == entry.role and s.model_digest == entry.model.digest}
        version = registry.register(_registration(runtime, run_id, iteration, entry, own, mlflow_run, registry))
        _promote(runtime, registry, entry, version, measured, gate)
        versions.append(f"{version.name}/{version.version}")
    if scores is not None:
        tracker.log_dataset(mlflow_run, scores, "evaluation")
    tracker.close(mlflow_run, "completed")
    return versions


def _registration(
    runtime: Runtime,
    run_id: str,
    iteration: int,
    entry: Trained,
    metrics: Mapping[str, float],
    mlflow_run: str,
    registry: Registry,
) -> Registration:
    training = entry.training
    parents = [v.version for v in registry.versions(entry.role) if v.digest == entry.parent.digest]
    return Registration(
        run_id=run_id,
        role=entry.role,
        iteration=iteration,
        path=Path(entry.model.location),
        digest=entry.model.digest,
        parent_version=parents[-1] if parents else None,
        parent_digest=entry.parent.digest,
        train_stage_key=None if training is None else training.stage_key,
        dataset_digests={} if training is None else {d.stage: d.content_digest for d in training.manifest().inputs},
        metrics=metrics,
        mlflow_run=mlflow_run,
    )


def _promote(
    runtime: Runtime,
    registry: Registry,
    entry: Trained,
    version: ModelVersion,
    measured: Sequence[EvalScore],
    gate: PromotionConfig,
) -> None:
    """The gate: a candidate becomes champion unless it measures below the champion by more than the margin."""
    metric = GATE_METRIC[entry.role]
    champion = next((v for v in registry.versions(entry.role) if CHAMPION in v.aliases), None)
    own = next((s.value for s in measured if s.role == entry.role and s.metric == metric), None)
    if champion is None:
        registry.promote(entry.role, version.version, "first version")
        return
    if own is None or champion.version == version.version:
        return
    best = _measured_before(runtime, entry.role, champion.digest, metric)
    if gate.ability_margin is not None and entry.role == "actor":
        kept = ability_gate(
            measured_ability(runtime.home, champion.digest),
            measured_ability(runtime.home, entry.model.digest),
            gate.ability_margin,
        )
        if not kept.passed:
            _log.warning("%s/%s is not promoted: %s", entry.role, version.version, kept.reason)
            return
    if best is None or own >= best - gate.margin:
        shown = "not measured" if best is None else f"{best:.4f}"
        registry.promote(entry.role, version.version, f"{metric} {own:.4f}, champion {shown}, margin {gate.margin}")


def _measured_before(runtime: Runtime, role: ModelRole, digest: str, metric: str) -> float | None:
    with open_catalog(runtime.home) as catalog:
        rows = catalog.rows(
            "SELECT max(value) AS value FROM eval_scores WHERE role = ? AND model_digest = ? AND metric = ?",
            [role, digest, metric],
        )
    value: float | None = rows[0]["value"]
    return value
