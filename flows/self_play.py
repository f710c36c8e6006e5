"""The flows: warm start, one iteration, whole self-play, evaluation. Each may be run or deployed on its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from prefect import flow, tags
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.handovers import Models
from flows.health import require_fruit, run_health
from flows.judge_summary import judges
from flows.measuring import Measurement
from flows.pipeline import Pipeline
from flows.publishing import publish_health, publish_judge, publish_summary
from flows.request import Run, RunRequest
from flows.summary import run_summary
from spar_core.errors import ConfigError
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef
from tasks.registration import Trained, register_models
from tasks.runtime import Runtime

# Prefect types its own decorator for another runner than the one it ships.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=64)  # at most: orchestration.parallel_shards run at once
_under_way: set[tuple[str, str]] = set()
"""(home, run id) of the runs whose outermost flow is going on in this process."""


@contextmanager
def running(request: RunRequest, *, whole: bool = False) -> Iterator[Run]:
    """Hold the home and keep the run's state in the ledger; `whole`: the run is complete when the block ends."""
    run = request.resolve()
    runtime = Runtime.of(str(run.home.root))
    with runtime.held(), tags(f"home:{run.home.root}", f"run:{run.run_id}"):
        place = (str(run.home.root), run.run_id)
        if place in _under_way:  # a flow within a flow of the same run
            yield run
            return
        runtime.ledger.open_run(run.run_id, run.config.model_dump(mode="json"), whole=whole)
        runtime.tracking.tracker.open_run(run.run_id, run.config.model_dump(mode="json"))
        _under_way.add(place)
        try:
            yield run
        except BaseException as error:
            _close(runtime, run, "failed" if isinstance(error, Exception) else "interrupted")
            raise
        finally:
            _under_way.discard(place)
        if whole:
            _close(runtime, run, "completed")


class Start(NamedTuple):
    """What an iteration goes on from. `first`: the models after the warm start, for measurements."""

    models: Models
    first: Models


def registered_models(run: Run) -> dict[int, Models]:
    """Both models of every iteration this run has registered, as they were registered last."""
    found: dict[int, dict[str, ModelRef]] = {}
    for entry in Runtime.of(str(run.home.root)).ledger.models(run.run_id):
        found.setdefault(entry.iteration, {})[entry.role] = ModelRef(entry.digest, entry.uri)
    return {number: Models(**both) for number, both in found.items() if len(both) == len(Models._fields)}


def _close(runtime: Runtime, run: Run, state: Any) -> None:
    runtime.ledger.close_run(run.run_id, state)
    runtime.tracking.tracker.close(runtime.tracking.tracker.open_run(run.run_id), state)


@flow(name="self_play", task_runner=_RUNNER)
def self_play(request: RunRequest) -> list[dict[str, Any]]:
    """Warm start, then every iteration; returns one summary row per iteration."""
    with running(request, whole=True) as run:
        pinned = request.pinned()
        first = warm_start(pinned)
        models = first
        for index in range(1, run.config.iterations + 1):
            models = iteration(pinned, index, Start(models, first))
        rows = run_summary(run.home, run.run_id)
        publish_summary(run.run_id, rows)
        publish_health(run.run_id, run_health(run.home, run.run_id))
        return [row.plain() for row in rows]


@flow(name="warm_start", flow_run_name="warm start", task_runner=_RUNNER)
def warm_start(request: RunRequest) -> Models:
    """Iteration 0: supervised training, measured and registered."""
    with running(request) as run:
        pipeline = Pipeline(run)
        base = pipeline.base_models()
        models = pipeline.warm_start()
        scores = Measurement(run, pipeline.stages).evaluate(0, models, models, None)
        _publish_judge(run, 0)
        _register(pipeline, 0, base, models, scores)
        return models


def _numbered() -> str:
    """What the UI calls a flow run that belongs to one iteration."""
    number = flow_run.parameters.get("index")
    return "the next iteration" if number is None else f"iteration {number}"


@flow(name="iteration", flow_run_name=_numbered, task_runner=_RUNNER)
def iteration(request: RunRequest, index: int | None = None, start: Start | None = None) -> Models:
    """One self-play iteration: answers, judgements, trees, training, measurement, registration.

    Args:
        request: the run it belongs to; its warm start is made if it is missing.
        index: number of the iteration; null takes the next one that is not complete (for schedules).
        start: models to go on from; null takes those that the iteration before registered.

    Raises:
        ConfigError: the iteration before it is not complete.
        FruitlessError: its data are not worth training on; finished work is kept.
    """
    with running(request) as run:
        pipeline = Pipeline(run)
        known = registered_models(run)
        if start is None and 0 not in known:
            known[0] = warm_start(request.pinned())
        number = max(known) + 1 if index is None else index
        if start is None:
            if number - 1 not in known:
                raise ConfigError(f"iteration {number} of run {run.run_id} needs iteration {number - 1} first")
            start = Start(known[number - 1], known[0])
        data = pipeline.data(number, start.models, start.first)
        require_fruit(run.home, run.run_id, number, data.pairs, run.config.health)
        models = pipeline.train(number, start.models, data)
        scores = Measurement(run, pipeline.stages).evaluate(number, models, start.first, data)
        _publish_judge(run, number)
        _register(pipeline, number, start.models, models, scores)
        return models


@flow(name="evaluation", task_runner=_RUNNER)
def evaluation(request: RunRequest, index: int | None = None) -> list[dict[str, Any]]:
    """Measure the models after an iteration (the latest complete one by default) on held-out prompts."""
    with running(request) as run:
        pipeline = Pipeline(run)
        known = registered_models(run)
        number = max(known, default=0) if index is None else index
        if number not in known or 0 not in known:
            raise ConfigError(f"run {run.run_id} has no complete iteration {number} to evaluate; run self_play first")
        Measurement(run, pipeline.stages).evaluate(number, known[number], known[0], None)
        _publish_judge(run, number)
        rows = [row for row in run_summary(run.home, run.run_id) if row.iteration == number]
        publish_summary(run.run_id, rows)
        return [row.plain() for row in rows]


def _publish_judge(run: Run, number: int) -> None:
    for judge in judges(run.home, run.run_id):
        if judge.iteration == number:
            publish_judge(run.run_id, judge)


def _register(pipeline: Pipeline, number: int, before: Models, after: Models, scores: ArtifactRef | None) -> None:
    run = pipeline.run
    roles: tuple[ModelRole, ...] = ("actor", "refiner")
    trained = [
        Trained(role, after.of(role), before.of(role), pipeline.trained_by.get(after.of(role).digest)) for role in roles
    ]
    register_models(str(run.home.root), run.run_id, number, trained, scores, run.config.promotion)
