"""TRL trainers for token rows that are prepared already: what is overridden is said here, the rest is TRL's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
from datasets import Dataset
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback
from trl.trainer import dpo_trainer as trl_dpo
from trl.trainer import utils as trl_utils
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from spar_core.config.training import DpoTrainingConfig
from spar_core.training.adapters import begin_adapters, peft_config
from spar_core.training.batches import LengthSortedSampler
from spar_core.training.specification import TrainingSpec


def sequence_mean_nll(log_probs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over each sequence's answer tokens, then over sequences: the SFT term of the authors' trainer.

    `log_probs` and `mask` have shape (sequences, tokens - 1), zero outside the answer.
    """
    per_sequence = -(log_probs * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return per_sequence.mean()


def score_answers_only() -> None:
    """Have TRL project only answer positions through the output head, on CPU as on devices.

    TRL does so where Triton runs and elsewhere scores all positions, for compilers that want fixed shapes. On CPU
    that wastes a third of the time of a small model. Losses are the same. Patches one name of TRL's module.
    """
    if hasattr(trl_utils, "_use_triton"):
        trl_utils._use_triton = lambda _device: True


@contextmanager
def _policy_is_its_own_reference() -> Iterator[None]:
    """While TRL's trainer is built, it loads no second model and hashes no weights.

    Under FSDP it would load the starting model once more on every process, only to compute the reference's
    log-probabilities, which the policy itself gives before its first step; and it would name their file by a hash of
    all weights, which shares of them do not have. Here the folder they lie in belongs to one training.
    """
    replaced = {"create_model_from_path": lambda *_, **__: None, "hash_module": lambda _: "start"}
    originals = {name: getattr(trl_dpo, name) for name in replaced}
    for name, value in replaced.items():
        setattr(trl_dpo, name, value)
    try:
        yield
    finally:
        for name, value in originals.items():
            setattr(trl_dpo, name, value)


class _PreparedRows:
    """Mixin: optimiser batches of a seeded shuffle, passed through the model in order of length; FSDP2 on CPUs too."""

    args: Any
    train_dataset: Any
    accelerator: Any
    state: Any
    is_fsdp_enabled: bool

    def create_accelerator_and_postprocess(self) -> None:
        """Accelerate turns FSDP on for accelerators alone; the same on CPUs."""
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        state = self.accelerator.state
        if self.args.fsdp and not self.is_fsdp_enabled:
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            state.distributed_type = PartialState().distributed_type = DistributedType.FSDP  # each reads the other
            self.is_fsdp_enabled = True

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSortedSampler:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        columns = [name for name in ("prompt_ids", "chosen_ids", "input_ids") if name in rows.column_names]
        lengths = [sum(map(len, parts)) for parts in zip(*(rows[name] for name in columns), strict=True)]
        arguments = self.args
        batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * self.accelerator.num_processes
        steps = -(-len(lengths) // batch)
        return LengthSortedSampler(lengths, batch, arguments.seed, lambda: self.state.global_step // steps)


class ExampleTrainer(_PreparedRows, SFTTrainer):  # type: ignore[misc]
    """SFT on rows with input_ids and labels; the loss is the mean over the answer tokens of the optimiser batch."""


class PairTrainer(_PreparedRows, DPOTrainer):  # type: ignore[misc]
    """DPO on rows with prompt_ids, chosen_ids and rejected_ids, with either averaging of the SFT term.

    TRL averages the SFT term over the answer tokens of a micro-batch. For `sft_reduction: sequence` TRL computes the
    sigmoid loss alone and the term is added here from the log-probabilities of the same forward pass.
    """

    def __init__(self, *args: Any, sequence_sft_weight: float = 0.0, **kwargs: Any) -> None:
        self._sequence_sft_weight = sequence_sft_weight
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        """Rows arrive tokenised: TRL would tokenise prompt and answer together and cut what is too long."""
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False) -> Any:
        if not self._sequence_sft_weight:
            return super()._compute_loss(model, inputs, return_outputs)
        captured: list[torch.Tensor] = []
        # The policy's pass is the only one with gradients; the reference's log-probabilities are not wanted.
        hook = model.register_forward_hook(
            lambda _module, _args, output: captured.append(output.log_probs) if torch.is_grad_enabled() else None
        )
        try:
            loss = super()._compute_loss(model, inputs, False)
        finally:
            hook.remove()
        mask = inputs["completion_mask"][:, 1:]
        chosen_mask, _ = mask.chunk(2, dim=0)
        chosen_log_probs, _ = captured[0][:, -mask.size(1) :].chunk(2, dim=0)
        term = sequence_mean_nll(chosen_log_probs, chosen_mask)
        self._metrics["train"]["sft_loss"].append(term.item())
        return loss + self._sequence_sft_weight * term


def build_trainer(
    spec: TrainingSpec,
    arguments: DPOConfig | SFTConfig,
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, list[int]]],
    callbacks: list[TrainerCallback],
) -> PairTrainer | ExampleTrainer:
    """Trainer over `rows` (see `examples.TokenRows`) that writes checkpoints to `spec.work`.

    Reference log-probabilities of DPO are computed once before training, by the model that is then trained: one model
    in memory instead of two, and nothing is computed twice over several epochs. With LoRA the reference is the model
    without its adapters.
    """
    score_answers_only()
    rows = sorted(rows, key=_length)  # the pass for the reference's log-probabilities takes rows in this order
    dataset = Dataset.from_dict({name: [row[name] for row in rows] for name in rows[0]})
    # TRL keeps the reference's log-probabilities in a file; the default place is private to each process.
    spec.work.mkdir(parents=True, exist_ok=True)
    dataset._get_cache_file_path = lambda fingerprint: str(spec.work / f"reference-{fingerprint}.arrow")
    shared = {
        "args": arguments,
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": dataset,
        "callbacks": callbacks,
        "peft_config": peft_config(spec.config.lora) if spec.config.lora else None,
    }
    if isinstance(spec.config, DpoTrainingConfig):
        by_sequence = spec.config.sft_weight > 0 and spec.config.sft_reduction == "sequence"
        with _policy_is_its_own_reference():
            trainer = PairTrainer(sequence_sft_weight=spec.config.sft_weight if by_sequence else 0.0, **shared)
    else:
        trainer = ExampleTrainer(**shared)
    if spec.config.lora and not spec.launch.shards:
        begin_adapters(trainer.model, spec.seed)
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


def _length(row: dict[str, list[int]]) -> int:
    return sum(len(row[name]) for name in ("prompt_ids", "chosen_ids", "input_ids") if name in row)
