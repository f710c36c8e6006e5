"""The search curve of one run: its models' test-time search at several budgets, entered under a run of its own."""

from typing import Any

from flows.experiments.specification import PlannedRun, SearchCurve, curve_run_id
from flows.self_play import registered_models
from flows.wiring.handovers import Models
from flows.wiring.measuring import Measurement
from flows.wiring.request import Run
from flows.wiring.runs import RunPlan, opened_run
from flows.wiring.stage_calls import StageRunner, plain
from spar_core.config.method import SearchConfig
from spar_core.errors import ConfigError
from spar_core.search.budgets import deep_enough
from storage.artifacts import ArtifactRef
from tasks.evaluation import EVAL_ACTOR
from tasks.search_curve import SEARCH_CURVE, SEARCH_SCORES, SEARCH_START
from tasks.stages import Stage


def measure_curve(planned: PlannedRun, curve: SearchCurve) -> None:
    """Every strategy on the models of every iteration asked for; each is a cached stage. Call it inside a flow.

    Raises:
        ConfigError: the run has no models of an iteration.
        SparError: a stage failed.
    """
    run = planned.run
    models = registered_models(run)
    aside = Run(run.home, curve_run_id(run.run_id), run.config)
    plan = RunPlan(run.home, aside.run_id, run.config.model_dump(mode="json"), "search curve", tracked=False)
    with opened_run(plan):
        for number in curve.iterations_of(run):
            if number not in models:
                raise ConfigError(f"run {run.run_id} has no complete iteration {number} to measure; run it first")
            _measure(aside, curve, number, models[number])


def searches(config: SearchConfig, curve: SearchCurve) -> dict[str, SearchConfig]:
    """The search of each strategy, with room for the largest budget."""
    largest = max(curve.budgets)
    return {
        # Every smaller budget is read off the shares of the largest search.
        strategy: deep_enough(config.every_vote().model_copy(update={"strategy": strategy}), largest)
        for strategy in dict.fromkeys(curve.strategies)
    }


def _measure(run: Run, curve: SearchCurve, number: int, models: Models) -> ArtifactRef:
    stages, method, evaluation = StageRunner(run, only_measures=True), run.config.method, run.config.evaluation

    def measured(
        stage: Stage, place: str, inputs: dict[str, ArtifactRef], reads: dict[str, Any] | None = None
    ) -> ArtifactRef:
        named = stage.named(place) if place else stage
        return stages.run(named, number, inputs, models._asdict(), reads, seed=evaluation.seed)

    prompts = Measurement(run, stages).eval_prompts(number)
    sampling = {"samples": evaluation.samples, "sampling": plain(evaluation.actor)}
    answers = stages.run(
        EVAL_ACTOR, number, {"prompts": prompts}, {"actor": models.actor}, sampling, seed=evaluation.seed
    )
    reads = {
        "judging": plain(method.judging.votes_alone()),  # at test time no checker answers for the refiner
        "refinement": plain(method.refinement),
        **stages.templates("judge", "refine"),
    }
    starting = {**reads, "prompts": curve.prompts}
    if method.search.votes_asked == "until_decided":
        starting["votes_asked"] = method.search.votes_asked
    start = measured(SEARCH_START, "", {"prompts": prompts, "answers": answers}, starting)
    found = {"none": start}
    for strategy, search in searches(method.search, curve).items():
        searching = {**reads, "search": plain(search), "budgets": sorted(set(curve.budgets))}
        found[strategy] = measured(SEARCH_CURVE, strategy, {"prompts": prompts, "start": start}, searching)
    return measured(SEARCH_SCORES, "", found)
