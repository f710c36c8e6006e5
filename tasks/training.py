"""Stages that train a model in a subprocess and keep it as their artifact."""

from pathlib import Path

from spar_core.config.method import JudgingConfig
from spar_core.engines.configuration import ThinkingSettings, TransformersEngineConfig
from spar_core.errors import TrainingError
from spar_core.training import TrainingOutcome, TrainingSpec, train
from spar_core.training.ray_nodes import joined
from spar_core.training.specification import CONFIG_OF_KIND, JudgeSpec
from storage.artifacts import ArtifactRef
from storage.remote_artifacts import bring_model
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

START = "start"
"""Role of the model that a training begins with."""
REWARDS = "rewards"
"""Role of the model that says what the answers of GRPO are worth."""
_TOKENS = frozenset({"prompt_tokens", "completion_tokens"})


def training_table(kind: str, data: ArtifactRef) -> str:
    """The table of a stage's artifact that a training of this kind (dpo, sft or grpo) reads."""
    if kind == "grpo":
        return "prompts"
    if kind == "sft":
        return "refiner_examples"
    return next((table for table in ("judge_pairs", "given_pairs") if table in data.rows), "preference_pairs")


def _work(context: ShardContext) -> ShardRows:
    call, runtime = context.call, context.runtime
    runtime.engines.close_all()  # serving and training never share an accelerator
    spec = training_spec(context)
    spending, budget = runtime.spending(call.run_id), call.surroundings.budget
    curves = runtime.tracking.curves(call)

    def on_metrics(step: int, metrics: dict[str, float]) -> None:
        curves.add(step, metrics)
        runtime.reporter.training_progress(call, step, metrics)
        if metrics.keys() >= _TOKENS:  # it draws answers
            spending.counted(*(int(metrics[name]) for name in sorted(_TOKENS, reverse=True)))

    def is_over() -> bool:
        return runtime.interrupted.is_set() or spending.is_over(budget)

    try:
        if spec.launch.nodes > 1 and call.surroundings.scale.runner == "ray":
            cluster = runtime.cluster(call.surroundings.scale.ray)
            with joined(spec, cluster.config.start_timeout_s) as training:
                outcome = train(training.spec, on_metrics, lambda: is_over() or training.lost() is not None)
        else:
            outcome = train(spec, on_metrics, is_over)
    except TrainingError:
        spending.check(budget)  # ended for that: its checkpoints are kept
        raise
    context.store.adopt_model(call.stage, call.key, outcome.model_folder)
    context.part.write("drops", outcome.dropped)
    drawn = {name: outcome.metrics[name] for name in _TOKENS if name in outcome.metrics}
    context.part.measure({"steps": outcome.steps, "rows_trained": outcome.rows_trained, **drawn})
    curves.finish(call.inputs["data"], _summary(outcome))
    data = call.inputs["data"]
    return ShardRows(data.rows[training_table(spec.kind, data)], outcome.rows_trained)


def training_spec(context: ShardContext) -> TrainingSpec:
    """What the subprocess is asked to do: the data of the stage's input, checkpoints in the stage's workspace."""
    call = context.call
    kind = call.config["kind"]
    data = call.inputs["data"]
    workspace = context.store.workspace(call.stage, call.key)
    return TrainingSpec(
        kind=kind,
        model_folder=_brought(call.models[START]),
        data_files=data.paths(training_table(kind, data)),
        output_folder=workspace / "model",
        config=CONFIG_OF_KIND[kind].model_validate({**call.config["training"], **call.surroundings.training_intervals}),
        tokens=call.config.get("tokens"),
        judge=_judge(call),
        chat=ThinkingSettings.model_validate(call.config.get("chat", {})),
        launch=call.surroundings.launch,
        seed=call.seed,
        log_file=context.runtime.home.logs / call.run_id / f"{call.iteration or 0:03d}-{call.stage}.log",
        label=call.stage,
        meeting_folder=context.runtime.home.meeting(call.run_id),
    )


def _judge(call: StageCall) -> JudgeSpec | None:
    """Who judges the answers of GRPO: served in the training's process, whatever serves models elsewhere."""
    model = call.models.get(REWARDS)
    if model is None:
        return None
    engine = call.engines[REWARDS]
    if not isinstance(engine, TransformersEngineConfig):
        thinking = engine.model_dump(include=set(ThinkingSettings.model_fields))
        engine = TransformersEngineConfig(**thinking)
    judging = JudgingConfig.model_validate(call.config["judging"])
    folder, texts = _brought(model), call.surroundings.prompt_set
    return JudgeSpec(model_folder=folder, digest=model.digest, engine=engine, prompt_set=texts, judging=judging)


def _brought(model: ModelRef) -> Path:
    folder = Path(model.location)
    bring_model(folder)
    return folder


def _summary(outcome: TrainingOutcome) -> dict[str, float]:
    return {
        "steps": outcome.steps,
        "rows_trained": outcome.rows_trained,
        "seconds": outcome.seconds,
        "resumed_from_step": outcome.resumed_from_step,
        **outcome.metrics,
    }


REINFORCE_ACTOR = Stage("reinforce_actor", version=2, work=_work, stays=True)
TRAIN_ACTOR = Stage("train_actor", version=3, work=_work, stays=True)
TRAIN_REFINER = Stage("train_refiner", version=3, work=_work, stays=True)
WARM_START_ACTOR = Stage("warm_start_actor", version=3, work=_work, stays=True)
WARM_START_REFINER = Stage("warm_start_refiner", version=3, work=_work, stays=True)
