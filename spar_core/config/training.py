"""Training configuration: DPO for the actor, SFT for both roles, how the subprocess is launched."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spar_core.config.base import FrozenConfig
from spar_core.secrets import Environment

LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]


class LoraConfig(FrozenConfig):
    """Low-rank adapters, merged into full weights when training ends."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the update matrices."""
    alpha: Annotated[int, Field(ge=1, le=4096)] = 32
    """Scale numerator (update is scaled by alpha / rank)."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout on the adapter input."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Which linear layers get adapters."""


class OptimisationConfig(FrozenConfig):
    """Shared by DPO and SFT. AdamW (0.9, 0.999), as in the paper."""

    learning_rate: LearningRate
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """Shape after warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Share of all steps spent warming up."""
    epochs: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    """Passes over the data."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Exactly so many optimiser steps, whatever `epochs` says: fewer rows are repeated, more are not all seen. Gives
    trainings that are compared equal numbers of steps. Null follows `epochs`."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Examples per optimiser step over all processes."""
    micro_batch_size: Annotated[int, Field(ge=1)] = 1
    """Examples per forward pass and process; the rest of the batch is accumulated."""
    max_length: Annotated[int, Field(ge=8)] = 2048
    """Tokens per sequence, prompt and answer together."""
    overlong: Literal["drop", "truncate"] = "drop"
    """A longer row is left out and recorded as a drop, or its texts are cut at their ends (published)."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """AdamW weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """Gradient clipping norm."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 on an accelerator, fp32 on CPU (bf16 is about 40 times slower on one without its instructions)."""
    gradient_checkpointing: bool = False
    """Trade compute for memory."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights."""
    checkpoint_steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps between resumable checkpoints."""
    log_steps: Annotated[int, Field(ge=1)] = 10
    """Optimiser steps between logged metrics."""


class DpoTrainingConfig(OptimisationConfig):
    """Actor training (paper: sigmoid, beta 0.1, + 0.1 x SFT on chosen, lr 2e-7, 1 epoch, batch 32, length 2048)."""

    learning_rate: LearningRate = 2e-7
    """Peak learning rate."""
    beta: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """DPO temperature: strength of the pull to the reference model."""
    sft_weight: Annotated[float, Field(ge=0.0, le=10.0)] = 0.1
    """Weight of the SFT term on the chosen answer; 0 leaves it out."""
    sft_reduction: Literal["token", "sequence"] = "token"
    """Average the SFT term over the tokens of the micro-batch (TRL), or per sequence and then over sequences
    (the authors' trainer)."""


class SftTrainingConfig(OptimisationConfig):
    """Supervised training on assistant messages (paper, refiner: lr 1e-6, 3 epochs, batch 64, 4096)."""

    learning_rate: LearningRate = 1e-6
    """Peak learning rate."""
    epochs: Annotated[float, Field(gt=0.0, le=100.0)] = 3.0
    """Passes over the data."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples per optimiser step over all processes."""
    max_length: Annotated[int, Field(ge=8)] = 4096
    """Tokens per sequence."""
    loss_turns: Literal["last", "all"] = "last"
    """What of a chat is learned: the last assistant message, or every one (published). The two differ where a chat has
    several, such as refinements under a prompt set with `refine: continuation`, whose critique is then learned too."""


class LaunchConfig(FrozenConfig):
    """How the training subprocess is started."""

    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes on this machine (one per accelerator); above 1 through torch.distributed.run."""
    accelerate_config: Path | None = None
    """An `accelerate config` file (FSDP, DeepSpeed, several nodes): training starts through `accelerate launch`."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads per process; null: OMP_NUM_THREADS, else the cores this process may run on, shared out among them."""
    environment: Environment = Field(default_factory=dict)
    """Extra environment variables of the subprocess; a secret by the name of the variable that holds it:
    {"WANDB_API_KEY": "$WANDB_API_KEY"}."""

    @model_validator(mode="after")
    def _one_launcher(self) -> Self:
        if self.accelerate_config is not None and self.processes > 1:
            raise ValueError(
                "launch.processes and launch.accelerate_config both decide the number of processes; "
                "put it in the accelerate file and leave launch.processes at 1"
            )
        return self


class TrainingConfig(FrozenConfig):
    """All trainings of a run."""

    actor: DpoTrainingConfig = DpoTrainingConfig()
    """DPO on the pairs of each iteration."""
    refiner: SftTrainingConfig = SftTrainingConfig()
    """RFT (SFT on accepted data) of each iteration."""
    judge: DpoTrainingConfig | None = None
    """`meta_rewarding`: DPO of the refiner on pairs of judgements; null takes the actor's values with the refiner's
    `max_length`."""
    warm_start_actor: SftTrainingConfig = SftTrainingConfig(
        learning_rate=2e-6, schedule="constant_with_warmup", epochs=5.0, max_length=2048
    )
    """Iteration 0, actor (paper: lr 2e-6, constant, batch 64, 5 epochs on 8k)."""
    warm_start_refiner: SftTrainingConfig = SftTrainingConfig(learning_rate=2e-6, schedule="constant_with_warmup")
    """Iteration 0, refiner (paper: lr 2e-6, constant, batch 64, 3 epochs)."""
    launch: LaunchConfig = LaunchConfig()
    """The subprocess."""

    def judge_training(self) -> DpoTrainingConfig:
        """How the refiner learns from pairs of judgements."""
        return self.judge or self.actor.model_copy(update={"max_length": self.refiner.max_length})
