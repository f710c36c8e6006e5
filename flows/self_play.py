"""The flows: warm start, one iteration, whole self-play, evaluation. Each may be run or deployed on its own."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from prefect import flow
from prefect.runtime import flow_run

from flows.checks.preflight import preflight_run
from flows.probing import probe_first
from flows.reporting.publishing import publish_report
from flows.showing.judge_summary import judges
from flows.showing.publishing import publish_health, publish_judge, publish_summary, stages_shown
from flows.showing.summary import run_summary
from flows.wiring.champions import StartFrom, base_models, decide, decide_late, starting_models
from flows.wiring.handovers import Models
from flows.wiring.health import require_fruit, run_health
from flows.wiring.measuring import Measurement
from flows.wiring.pipeline import Pipeline
from flows.wiring.request import Run, RunRequest
from flows.wiring.runs import RunPlan, entitle, opened_run
from flows.wiring.stage_calls import StageRunner
from spar_core.errors import ConfigError
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from storage.entries import RunState
from storage.remote_artifacts import bring_model
from tasks.engines import ModelRef
from tasks.gate import Candidate
from tasks.registration import Trained, register_models
from tasks.runners import THREADS
from tasks.runtime import Runtime
from tasks.showing import show_iteration

_log = logging.getLogger(__name__)
_WHOLE = "run"
"""Activity of the flow that goes through a run from its start."""


@contextmanager
def running(request: RunRequest, activity: str, *, aside: bool = False) -> Iterator[Run]:
    """The run of a request, open for what the block does; it is complete when all its iterations are registered."""
    run = request.resolve()
    config = run.config.model_dump(mode="json")
    plan = RunPlan(
        run.home,
        run.run_id,
        config,
        activity,
        aside=aside,
        whole=activity == _WHOLE,
        becomes=lambda: reached(run),
        check=lambda: _check(run),
        ended=lambda: publish_report(run.home, run.run_id),
    )
    with opened_run(plan):
        yield run


def _check(run: Run) -> None:
    """What a run before this one in the process left open, such as an experiment's, is not somebody else's."""
    Runtime.of(str(run.home.root)).engines.close_all()
    preflight_run(run)


def reached(run: Run) -> RunState:
    """The state of a run whose last flow ended well."""
    return "completed" if max(registered_models(run), default=-1) >= run.config.iterations else "waiting"


class Start(NamedTuple):
    """What an iteration goes on from. `first`: the models after the warm start, for measurements."""

    models: Models
    first: Models


def registered_models(run: Run) -> dict[int, Models]:
    """Both models of every iteration this run has registered since it was begun anew, as they were registered last."""
    found: dict[int, dict[str, ModelRef]] = {}
    for entry in Runtime.of(str(run.home.root)).ledger.current_models(run.run_id):
        found.setdefault(entry.iteration, {})[entry.role] = ModelRef(entry.digest, str(run.home.located(entry.uri)))
    return {number: Models(**both) for number, both in found.items() if len(both) == len(Models._fields)}


@flow(name="self_play", flow_run_name="self-play", task_runner=THREADS)
def self_play(request: RunRequest) -> list[dict[str, Any]]:
    """Warm start, then every iteration; returns one summary row per iteration."""
    with running(request, _WHOLE) as run:
        if not registered_models(run):
            runtime = Runtime.of(str(run.home.root))
            probe_first(run, base_models(run), runtime.engines, runtime.spending(run.run_id))
        pinned = request.pinned()
        first = warm_start(pinned)
        models = first
        for index in range(1, run.config.iterations + 1):
            models = iteration(pinned, index, Start(models, first))
        rows = run_summary(run.home, run.run_id)
        publish_summary(run.run_id, rows)
        publish_health(run.run_id, run_health(run.home, run.run_id))
        return [row.plain() for row in rows]


@flow(name="warm_start", flow_run_name="warm start", task_runner=THREADS)
def warm_start(request: RunRequest) -> Models:
    """Iteration 0: supervised training, measured and registered."""
    with running(request, "warm start") as run, stages_shown(run.home, run.run_id, 0):
        pipeline = Pipeline(run)
        base = base_models(run)
        models = pipeline.warm_start(base)
        measurement = Measurement(run, pipeline.stages)
        scores = measurement.evaluate(0, models, models, None)
        _publish_judge(run, 0)
        candidates = _register(pipeline, 0, base, models, scores)
        decide(run, measurement, 0, candidates, models)
        return models


def _numbered() -> str:
    """What the UI calls a flow run that belongs to one iteration."""
    number = flow_run.parameters.get("index")
    return "the next iteration" if number is None else f"iteration {number}"


@flow(name="iteration", flow_run_name=_numbered, task_runner=THREADS)
def iteration(
    request: RunRequest,
    index: int | None = None,
    start: Start | None = None,
    start_from: StartFrom | None = None,
    until_complete: bool = False,
) -> Models:
    """One self-play iteration: answers, judgements, trees, training, measurement, registration, the gate.

    Args:
        request: the run it belongs to; its warm start is made if it is missing.
        index: number of the iteration; null takes the next one that is not complete (for schedules), and again the same
            one when its flow run is retried.
        start: the models of the iteration before; null takes those that were registered last.
        start_from: `last`, the models of the iteration before, or `champion`, those of the run's lineage; null: as
            `promotion.continue_from` says. An iteration that has begun goes on from what it began with.
        until_complete: do nothing once every iteration of the configuration is there; else a schedule goes on for ever.

    Raises:
        ConfigError: the iteration before it is not complete.
        FruitlessError: its data are not worth training on; finished work is kept.
    """
    with running(request, "iteration" if index is None else f"iteration {index}") as run:
        known = registered_models(run)
        if start is None and not _are_there(known.get(0)):
            known[0] = warm_start(request.pinned())
        first = known[0] if start is None else start.first
        stages = StageRunner(run)
        if index is None:
            decide_late(run, Measurement(run, stages), max(known), first)
        number = _next(run, known) if index is None else index
        if until_complete and index is None and number > run.config.iterations:
            _log.info("all %d iterations of %s are complete: nothing is left to do", run.config.iterations, run.run_id)
            return known[max(known)]
        last = known.get(number - 1) if start is None else start.models
        return _iterate(run, number, Start(starting_models(run, number, last, start_from), first))


def _are_there(models: Models | None) -> bool:
    """Not where `spar gc` has taken them since."""
    return models is not None and all(bring_model(Path(model.location)) for model in models)


def _next(run: Run, known: Collection[int]) -> int:
    """The first iteration that is not complete, or, where a flow run is retried, the one that it took up."""
    last = max(known)
    begun = Runtime.of(str(run.home.root)).ledger.start(run.run_id, last)
    return last if begun is not None and last > 0 and begun.flow_run == flow_run.id else last + 1


def _iterate(run: Run, number: int, start: Start) -> Models:
    entitle(f"{run.run_id}, iteration {number}")
    with stages_shown(run.home, run.run_id, number):
        pipeline = Pipeline(run)
        measurement = Measurement(run, pipeline.stages)
        data = pipeline.data(number, start.models, start.first)
        if data.pairs is not None:
            require_fruit(run.home, run.run_id, number, data.pairs, run.config.health)
        models = pipeline.train(number, start.models, data)
        scores = measurement.evaluate(number, models, start.first, data)
        _publish_judge(run, number)
        candidates = _register(pipeline, number, start.models, models, scores)
        decide(run, measurement, number, candidates, start.first)
        shown, traces = run.config.method.prompt_set, run.config.tracking.traces
        show_iteration(str(run.home.root), run.run_id, number, shown, data.prompts, data.trees, traces)
        return models


@flow(name="evaluation", flow_run_name="evaluation", task_runner=THREADS)
def evaluation(request: RunRequest, index: int | None = None) -> list[dict[str, Any]]:
    """Measure the models after an iteration (the latest complete one by default) on held-out prompts."""
    with running(request, "evaluation", aside=True) as run:
        known = registered_models(run)
        number = max(known, default=0) if index is None else index
        if number not in known or 0 not in known:
            raise ConfigError(f"run {run.run_id} has no complete iteration {number} to evaluate; run self_play first")
        entitle(f"{run.run_id}, evaluation of iteration {number}")
        with stages_shown(run.home, run.run_id, number):
            Measurement(run, StageRunner(run, only_measures=True)).evaluate(number, known[number], known[0], None)
        _publish_judge(run, number)
        rows = [row for row in run_summary(run.home, run.run_id) if row.iteration == number]
        publish_summary(run.run_id, rows)
        return [row.plain() for row in rows]


def _publish_judge(run: Run, number: int) -> None:
    for judge in judges(run.home, run.run_id):
        if judge.iteration == number:
            publish_judge(run.run_id, judge)


def _register(
    pipeline: Pipeline, number: int, before: Models, after: Models, scores: ArtifactRef | None
) -> list[Candidate]:
    run = pipeline.run
    roles: tuple[ModelRole, ...] = ("actor", "refiner")
    trained = [Trained(role, after.of(role), before.of(role), pipeline.trainings_of(after.of(role))) for role in roles]
    return register_models(str(run.home.root), run.run_id, number, trained, scores)
