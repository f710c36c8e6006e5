"""TRL trainers for token rows that are prepared already: what is overridden is said here, the rest is TRL's."""

import math
from typing import Any

import torch
from datasets import Dataset
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback
from trl.trainer import utils as trl_utils
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from spar_core.config.training import DpoTrainingConfig, LoraConfig, OptimisationConfig
from spar_core.training.batches import LengthSortedSampler
from spar_core.training.specification import TrainingSpec
from spar_core.training.steps import planned_steps

_KEPT_CHECKPOINTS = 2  # the newest may be half written when the process dies


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


class _SortedBatches:
    """Mixin: optimiser batches of a seeded shuffle, passed through the model in order of length."""

    args: Any
    train_dataset: Any
    accelerator: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthSortedSampler:
        rows = train_dataset if train_dataset is not None else self.train_dataset
        columns = [name for name in ("prompt_ids", "chosen_ids", "input_ids") if name in rows.column_names]
        lengths = [sum(map(len, parts)) for parts in zip(*(rows[name] for name in columns), strict=True)]
        arguments = self.args
        batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * self.accelerator.num_processes
        return LengthSortedSampler(lengths, batch, arguments.seed)


class ExampleTrainer(_SortedBatches, SFTTrainer):  # type: ignore[misc]
    """SFT on rows with input_ids and labels; the loss is the mean over the answer tokens of the optimiser batch."""


class PairTrainer(_SortedBatches, DPOTrainer):  # type: ignore[misc]
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
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, list[int]]],
    callbacks: list[TrainerCallback],
    processes: int = 1,
) -> PairTrainer | ExampleTrainer:
    """Trainer over `rows` (see `examples.TokenRows`) that writes checkpoints to `spec.work`.

    Reference log-probabilities of DPO are computed once before training: one model in memory instead of two, and
    nothing is computed twice over several epochs. With LoRA the reference is the model without its adapters.
    """
    score_answers_only()
    rows = sorted(rows, key=_length)  # the pass for the reference's log-probabilities takes rows in this order
    dataset = Dataset.from_dict({name: [row[name] for row in rows] for name in rows[0]})
    # TRL keeps the reference's log-probabilities in a file; the default place is private to each process.
    spec.work.mkdir(parents=True, exist_ok=True)
    dataset._get_cache_file_path = lambda fingerprint: str(spec.work / f"reference-{fingerprint}.arrow")
    shared = {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": dataset,
        "callbacks": callbacks,
        "peft_config": _peft_config(spec.config.lora) if spec.config.lora else None,
    }
    arguments = _arguments(spec, len(rows), processes)
    if isinstance(spec.config, DpoTrainingConfig):
        trainer = _pair_trainer(spec.config, arguments, shared)
    else:
        trainer = ExampleTrainer(args=SFTConfig(**arguments, max_length=None, packing=False), **shared)
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


def _pair_trainer(config: DpoTrainingConfig, arguments: dict[str, Any], shared: dict[str, Any]) -> PairTrainer:
    by_token = config.sft_weight > 0 and config.sft_reduction == "token"
    by_sequence = config.sft_weight > 0 and config.sft_reduction == "sequence"
    args = DPOConfig(
        **arguments,
        beta=config.beta,
        loss_type=["sigmoid", "sft"] if by_token else ["sigmoid"],
        loss_weights=[1.0, config.sft_weight] if by_token else [1.0],
        max_length=None,
        precompute_ref_log_probs=config.lora is None,
    )
    return PairTrainer(args=args, sequence_sft_weight=config.sft_weight if by_sequence else 0.0, **shared)


def _length(row: dict[str, list[int]]) -> int:
    return sum(len(row[name]) for name in ("prompt_ids", "chosen_ids", "input_ids") if name in row)


def warmup_steps(config: OptimisationConfig, steps: int) -> int:
    """Steps of rising learning rate. The first of them has rate zero, so a training of one step has none."""
    return min(math.ceil(config.warmup_ratio * steps), steps - 1)


def computes_in_bf16(config: OptimisationConfig) -> bool:
    """Whether forward and backward passes run in bfloat16: where asked for, and on every accelerator."""
    return config.precision == "bf16" or (config.precision == "auto" and torch.cuda.is_available())


def _arguments(spec: TrainingSpec, rows: int, processes: int) -> dict[str, Any]:
    config = spec.config
    steps = planned_steps(config, rows)
    accelerated = torch.cuda.is_available()
    return {
        "output_dir": str(spec.work / "checkpoints"),
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": warmup_steps(config, steps),
        "max_steps": steps,
        "per_device_train_batch_size": spec.micro_batch_size,
        "gradient_accumulation_steps": spec.accumulation_steps(processes),
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "bf16": computes_in_bf16(config),
        "gradient_checkpointing": config.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if config.gradient_checkpointing else None,
        "seed": spec.seed,
        "data_seed": spec.seed,
        "save_strategy": "steps",
        "save_steps": config.checkpoint_steps,
        "save_total_limit": _KEPT_CHECKPOINTS,
        "logging_steps": config.log_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": accelerated,
        "use_cpu": not accelerated,
        "ddp_find_unused_parameters": False if processes > 1 else None,
    }


def _peft_config(lora: LoraConfig) -> Any:
    from peft import LoraConfig as PeftLoraConfig

    modules = lora.target_modules
    return PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )
