"""What TRL's trainers are told: the schedule, memory and checkpoints of one training."""

import math
from typing import Any

import torch
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig

from spar_core.config.launch import LaunchConfig
from spar_core.config.training import DpoTrainingConfig, GrpoTrainingConfig, OptimisationConfig
from spar_core.engines.placement import weight_bytes
from spar_core.processors import trains_in_bfloat16
from spar_core.training.specification import TrainingSpec
from spar_core.training.steps import planned_steps

_KEPT_CHECKPOINTS = 2  # the newest may be half written when the process dies
_OPTIMISERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit", "paged_adamw_8bit": "paged_adamw_8bit"}


def training_arguments(spec: TrainingSpec, rows: int, processes: int) -> DPOConfig | SFTConfig | GRPOConfig:
    """Arguments for `rows` rows on `processes` processes; joins the process group where there are several.

    Made before the model is loaded: only then do the libraries know that it is to be shared out.
    """
    settings = {**_schedule(spec, rows, processes), **_memory(spec, processes), **_bookkeeping(spec)}
    config = spec.config
    if isinstance(config, GrpoTrainingConfig):
        return GRPOConfig(**settings, **_answers(config))
    if not isinstance(config, DpoTrainingConfig):
        return SFTConfig(**settings, max_length=None, packing=False)
    by_token = config.sft_weight > 0 and config.sft_reduction == "token"
    return DPOConfig(
        **settings,
        beta=config.beta,
        loss_type=["sigmoid", "sft"] if by_token else ["sigmoid"],
        loss_weights=[1.0, config.sft_weight] if by_token else [1.0],
        max_length=None,
        precompute_ref_log_probs=config.lora is None,
    )


def _answers(config: GrpoTrainingConfig) -> dict[str, Any]:
    """How answers are drawn and compared; a batch of them is used for one optimiser step."""
    return {
        "num_generations": config.group,
        "max_completion_length": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "beta": config.beta,
        "epsilon": config.clip,
        "loss_type": config.loss,
        "scale_rewards": config.scale_rewards,
        "use_vllm": config.generation == "vllm",
        "vllm_mode": "colocate",
        "vllm_max_model_length": config.max_length,
    }


def warmup_steps(config: OptimisationConfig, steps: int) -> int:
    """Steps of rising learning rate. The first of them has rate zero, so a training of one step has none."""
    return min(math.ceil(config.warmup_ratio * steps), steps - 1)


def computes_in_bf16(spec: TrainingSpec) -> bool:
    """Whether forward and backward passes run in bfloat16: where asked for; else on accelerators and, for models that
    are not small, on CPUs with matrix units for it."""
    if spec.config.precision != "auto":
        return spec.config.precision == "bf16"
    return torch.cuda.is_available() or trains_in_bfloat16(weight_bytes(spec.model_folder))


def _schedule(spec: TrainingSpec, rows: int, processes: int) -> dict[str, Any]:
    config = spec.config
    steps, warm = planned_steps(config, rows), None
    if isinstance(config, GrpoTrainingConfig) and spec.tokens is not None:
        # Answers are no longer than they may be, and no shorter than a token.
        warm = warmup_steps(config, max(1, spec.tokens // (config.batch_size * config.max_tokens)))
        steps = -(-spec.tokens // config.batch_size)
    return {
        "learning_rate": config.peak_learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": warmup_steps(config, steps) if warm is None else warm,
        "max_steps": steps,
        "per_device_train_batch_size": spec.micro_batch_size,
        "gradient_accumulation_steps": spec.accumulation_steps(processes),
        "optim": _OPTIMISERS[config.optimizer],
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": spec.seed,
        "data_seed": spec.seed,
    }


def _memory(spec: TrainingSpec, processes: int) -> dict[str, Any]:
    config = spec.config
    accelerated = torch.cuda.is_available()
    return {
        "bf16": computes_in_bf16(spec),
        "gradient_checkpointing": config.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if config.gradient_checkpointing else None,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": accelerated,
        "use_cpu": not accelerated,
        "ddp_find_unused_parameters": False if processes > 1 and not spec.launch.shards else None,
        **(_sharded(spec.launch) if spec.launch.shards else {}),
    }


def _sharded(launch: LaunchConfig) -> dict[str, Any]:
    """FSDP2 for a model that `sharding.shard` has shared out already: checkpoints are written by all processes."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "NO_WRAP",
            "state_dict_type": "SHARDED_STATE_DICT",
            "cpu_ram_efficient_loading": False,
            "cpu_offload": launch.offload,
        },
        # Gradients that wait for the batch's last micro-batch would wait unsharded, a whole model's worth of them.
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
    }


def _bookkeeping(spec: TrainingSpec) -> dict[str, Any]:
    config = spec.config
    return {
        "output_dir": str(spec.work / "checkpoints"),
        "save_strategy": "steps",
        "save_steps": config.checkpoint_steps,
        "save_total_limit": _KEPT_CHECKPOINTS,
        "logging_steps": config.log_steps,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
