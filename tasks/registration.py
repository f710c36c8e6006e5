"""The task that registers an iteration's models in MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prefect import task

from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from storage.registry import Registration, Registry
from tasks.engines import ModelRef
from tasks.gate import Candidate
from tasks.model_card import describe_models
from tasks.runtime import Runtime


class Trained(NamedTuple):
    """A model an iteration made: from which parent, by which trainings.

    Of shared weights there are two, in their order; of a model that is as it was none.
    """

    role: ModelRole
    model: ModelRef
    parent: ModelRef
    trainings: Sequence[ArtifactRef]


@task(name="register", task_run_name="register-{iteration}")
def register_models(
    home: str,
    run_id: str,
    iteration: int,
    trained: Sequence[Trained],
    scores: ArtifactRef | None,
) -> list[Candidate]:
    """Register each model as `candidate`; whether it becomes a champion is the gate's business.

    Idempotent: asking again finds the versions that are there.
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
        versions.append(Candidate(entry.role, version.version, entry.model))
    if scores is not None:
        tracker.log_dataset(mlflow_run, scores, "evaluation")
    tracker.close(mlflow_run, "completed")
    describe_models(runtime.home, [(entry.role, entry.version) for entry in versions])
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
    data = {given.stage: given.content_digest for made in entry.trainings for given in made.manifest().inputs}
    parents = [v.version for v in registry.versions(entry.role) if v.digest == entry.parent.digest]
    return Registration(
        run_id=run_id,
        role=entry.role,
        iteration=iteration,
        path=Path(entry.model.location),
        digest=entry.model.digest,
        parent_version=parents[-1] if parents else None,
        parent_digest=entry.parent.digest,
        train_stage_key=entry.trainings[-1].stage_key if entry.trainings else None,
        dataset_digests=data,
        metrics=metrics,
        mlflow_run=mlflow_run,
    )
