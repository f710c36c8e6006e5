"""One training inside the worker: load, tokenise, train or resume, write the new model."""

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState

from spar_core.config.training import GrpoTrainingConfig
from spar_core.errors import TrainingError
from spar_core.processors import SLOW_BF16, computes_bfloat16
from spar_core.records import Prompt
from spar_core.training.adapters import check_targets
from spar_core.training.arguments import computes_in_bf16, training_arguments
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.drawn import check_learned, tokens_of
from spar_core.training.examples import TokenRows, tokenise
from spar_core.training.export import DIVERGED, write_model
from spar_core.training.loading import ModelFacts, check_packages, load_model, load_tokenizer, read_facts
from spar_core.training.model_folder import PROVENANCE, publish
from spar_core.training.progress import append_metrics
from spar_core.training.sharding import give_back, shard
from spar_core.training.specification import TrainingOutcome, TrainingSpec
from spar_core.training.speed import SpeedMeter
from spar_core.training.trainers import ExampleTrainer, PairTrainer, build_trainer
from spar_core.training.workspace import Workspace

if TYPE_CHECKING:
    from spar_core.training.grpo import AnswerTrainer

_LOG = logging.getLogger(__name__)


class _Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes metrics and marks checkpoints, on the main process only."""

    def __init__(self, workspace: Workspace, spec: TrainingSpec, meter: SpeedMeter) -> None:
        self._workspace = workspace
        self._step_offset = spec.step_offset
        self._meter = meter
        minutes = spec.config.checkpoint_minutes
        self._most_s = None if minutes is None else 60 * minutes
        self._saved_at = time.monotonic()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._meter.start()
        self._saved_at = time.monotonic()

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            values = {name: float(value) for name, value in logs.items() if isinstance(value, (int, float))}
            if "loss" in values:
                values.update(self._meter.since_last(values.get("num_tokens")))
            append_metrics(self._workspace.metrics_file, state.global_step + self._step_offset, values)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step >= state.max_steps:  # the model itself is written next, a checkpoint would be waste
            control.should_save = False
        elif self._most_s is not None and _first_process_says(time.monotonic() >= self._saved_at + self._most_s, args):
            control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        await_all_processes()  # each of them writes a part of the checkpoint
        if state.is_world_process_zero:
            self._workspace.mark_complete(state.global_step)
        self._saved_at = time.monotonic()


def await_all_processes() -> None:
    """Return when every process of this training has come here; at once where there is only one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def _first_process_says(answer: bool, args: Any) -> bool:
    """What the first process found, for all: clocks differ, and a checkpoint is written by all processes or by none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return answer
    said = torch.tensor([int(answer)], device=args.device)
    distributed.broadcast(said, src=0)
    return bool(said.item())


def make_deterministic() -> None:
    """Same weights from the same spec on the same machine; operations without a deterministic form only warn."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def run_session(spec: TrainingSpec, identity: str, processes: int = 1, callbacks: tuple[Any, ...] = ()) -> None:
    """Train and leave the finished model, with its outcome, at `spec.output_folder`.

    Raises:
        TrainingError: the data, the model or its template cannot be trained on; says what to do.
    """
    started = time.monotonic()
    if computes_in_bf16(spec) and not torch.cuda.is_available() and not computes_bfloat16():
        _LOG.warning(SLOW_BF16.format(setting="precision"))
    check_packages(spec.config)
    make_deterministic()
    tokenizer, facts = load_tokenizer(spec.model_folder), read_facts(spec.model_folder)
    limit = min(spec.config.max_length, facts.context or spec.config.max_length)
    chat = ChatTokenizer(tokenizer, facts.stop_ids, spec.chat)
    data = tokenise(spec, chat, limit)
    workspace, meter = Workspace(spec.work), SpeedMeter(processes)
    recorders = [_Recorder(workspace, spec, meter), *callbacks]
    trainer = prepare(spec, tokenizer, facts, data.rows, processes, recorders, asks=(chat, data.prompts))
    meter.model_is(trainer.model, facts.config, data.rows)
    checkpoint = workspace.latest_checkpoint()
    resumed_from = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if (judge := getattr(trainer, "judge", None)) is not None:
        judge.close()
    _check_converged(trainer.state)
    check_learned(trainer.state.log_history)
    write_model(trainer, spec, workspace)
    if trainer.is_world_process_zero():
        outcome = _outcome(spec, identity, data, trainer.state, resumed_from, time.monotonic() - started)
        outcome.metrics.update(meter.summary)
        (workspace.new_model / PROVENANCE).write_text(outcome.to_json(), encoding="utf-8")
        publish(workspace.new_model, spec.output_folder)


def prepare(
    spec: TrainingSpec,
    tokenizer: Any,
    facts: ModelFacts,
    rows: list[dict[str, list[int]]],
    processes: int = 1,
    callbacks: list[Any] | None = None,
    *,
    asks: tuple[ChatTokenizer, tuple[Prompt, ...]] | None = None,
) -> "PairTrainer | ExampleTrainer | AnswerTrainer":
    """Trainer with its model, whole or shared out over the processes. `asks`: what GRPO reads answers with, and what it
    asks row by row.

    Raises:
        TrainingError: the batch cannot be shared out, or the model cannot be loaded.
    """
    try:
        spec.accumulation_steps(processes)
    except ValueError as error:  # an accelerate file decides the number of processes only now
        raise TrainingError(f"{error}.") from error
    arguments = training_arguments(spec, len(rows), processes)
    model = load_model(spec, facts)
    how: dict[str, Any] = {"seed": spec.seed, "bf16": computes_in_bf16(spec)}
    if spec.launch.shards and spec.config.lora is None:
        shard(model, spec.weights_folder, spec.launch, **how)  # before TRL asks it for the reference's probabilities
    if isinstance(spec.config, GrpoTrainingConfig):
        from spar_core.training.grpo import build_answer_trainer  # seconds of imports that no other kind needs

        assert asks is not None
        trainer: AnswerTrainer | PairTrainer | ExampleTrainer = build_answer_trainer(
            spec, arguments, model, tokenizer, rows, *asks, callbacks or []
        )
    else:
        trainer = build_trainer(spec, arguments, model, tokenizer, rows, callbacks or [])
    give_back(trainer.model)
    if spec.config.lora is not None:
        check_targets(trainer.model, spec.model_folder)
        if spec.launch.shards:
            shard(trainer.model, spec.model_folder, spec.launch, **how)
    return trainer


def _check_converged(state: TrainerState) -> None:
    """A training that went astray must not be handed on; the weights themselves are looked at as they are written."""
    losses = [entry[name] for entry in state.log_history for name in ("loss", "train_loss") if name in entry]
    if not all(math.isfinite(loss) for loss in losses):
        raise TrainingError(f"the loss became NaN or infinite; {DIVERGED}")


def _outcome(
    spec: TrainingSpec, identity: str, data: TokenRows, state: TrainerState, resumed_from: int, seconds: float
) -> TrainingOutcome:
    metrics: dict[str, float] = {}
    for entry in state.log_history:
        metrics.update({name: float(value) for name, value in entry.items() if isinstance(value, (int, float))})
    metrics.update(tokens_of(state.log_history))
    return TrainingOutcome(
        model_folder=spec.output_folder,
        identity=identity,
        rows_in=len(data.rows) + len(data.dropped),
        rows_trained=len(data.rows),
        steps=state.global_step,
        resumed_from_step=resumed_from,
        seconds=seconds,
        metrics=metrics,
        dropped=data.dropped,
        log_file=spec.log,
    )
