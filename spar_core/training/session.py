"""One training inside the worker: load, tokenise, train or resume, write the new model."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState

from spar_core.errors import TrainingError
from spar_core.processors import SLOW_BF16, computes_bfloat16
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.examples import TokenRows, tokenise
from spar_core.training.export import DIVERGED, write_model
from spar_core.training.model_folder import PROVENANCE, publish
from spar_core.training.progress import append_metrics
from spar_core.training.specification import TrainingOutcome, TrainingSpec
from spar_core.training.trainers import build_trainer, computes_in_bf16
from spar_core.training.workspace import Workspace

_LOG = logging.getLogger(__name__)


class _Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes metrics and marks checkpoints, on the main process only."""

    def __init__(self, workspace: Workspace, step_offset: int) -> None:
        self._workspace = workspace
        self._step_offset = step_offset

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            values = {name: float(value) for name, value in logs.items() if isinstance(value, (int, float))}
            append_metrics(self._workspace.metrics_file, state.global_step + self._step_offset, values)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step >= state.max_steps:  # the model itself is written next, a checkpoint would be waste
            control.should_save = False

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        await_all_processes()  # each of them writes a part of the checkpoint
        if state.is_world_process_zero:
            self._workspace.mark_complete(state.global_step)


def await_all_processes() -> None:
    """Return when every process of this training has come here; at once where there is only one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


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
    if computes_in_bf16(spec.config) and not torch.cuda.is_available() and not computes_bfloat16():
        _LOG.warning(SLOW_BF16.format(setting="precision"))
    make_deterministic()
    tokenizer = load_tokenizer(spec.model_folder)
    model = load_model(spec)
    chat = ChatTokenizer(tokenizer, stop_ids(model), spec.chat)
    data = tokenise(spec, chat, _token_limit(spec, model))
    workspace = Workspace(spec.work)
    recorder = _Recorder(workspace, spec.step_offset)
    try:
        spec.accumulation_steps(processes)
    except ValueError as error:  # an accelerate file decides the number of processes only now
        raise TrainingError(f"{error}.") from error
    trainer = build_trainer(spec, model, tokenizer, data.rows, [recorder, *callbacks], processes)
    checkpoint = workspace.latest_checkpoint()
    resumed_from = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _check_converged(trainer.state)
    write_model(trainer, spec, workspace)
    if trainer.is_world_process_zero():
        outcome = _outcome(spec, identity, data, trainer.state, resumed_from, time.monotonic() - started)
        (workspace.new_model / PROVENANCE).write_text(outcome.to_json(), encoding="utf-8")
        publish(workspace.new_model, spec.output_folder)


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


def load_tokenizer(folder: Path) -> Any:
    """Tokenizer of a model folder, right-padded.

    Raises:
        TrainingError: it cannot be loaded.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"Cannot load the tokenizer in {folder}: {error}. The folder needs tokenizer.json and "
            "tokenizer_config.json."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked out, its id has no effect
    return tokenizer


def load_model(spec: TrainingSpec) -> Any:
    """Model with fp32 weights (mixed precision casts inside the forward pass); frozen LoRA bases in bf16 on devices.

    Raises:
        TrainingError: configuration or weights cannot be loaded.
    """
    config = spec.config
    dtype = torch.bfloat16 if config.lora is not None and computes_in_bf16(config) else torch.float32
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            spec.model_folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingError(f"Cannot load the model in {spec.model_folder}: {error}") from error
    if report["missing_keys"]:
        raise TrainingError(
            f"The weights in {spec.model_folder} lack {sorted(report['missing_keys'])[:3]}; they do not belong to its "
            "config.json. Fetch or rebuild the model."
        )
    return model


def stop_ids(model: Any) -> frozenset[int]:
    """Ids at which generation with this model stops."""
    found: set[int] = set()
    for holder in (model.generation_config, model.config):
        value = getattr(holder, "eos_token_id", None)
        found.update([value] if isinstance(value, int) else value or [])
    return frozenset(found)


def _token_limit(spec: TrainingSpec, model: Any) -> int:
    context = getattr(model.config, "max_position_embeddings", None) or spec.config.max_length
    return min(spec.config.max_length, context)
