"""Training configuration: DPO and GRPO for the actor, SFT for both roles, how the subprocess is launched."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from spar_core.config.base import FrozenConfig, GrownConfig
from spar_core.config.launch import LaunchConfig

LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
Schedule = Literal["linear", "cosine", "constant_with_warmup"]
_MEANT_FOR_ADAPTERS = 1e-5  # all weights of a language model are trained at lower rates


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
    learning_rate: Annotated[float, Field(ge=1e-6, le=1.0)] | None = None
    """Peak learning rate of the adapters, in place of the training's `learning_rate`, which is for all weights: at such
    rates adapters barely move. Null: 2e-5 for DPO, 1e-4 for SFT (docs/models.md has the measurement)."""
    base_bits: Literal[4, 16] | None = None
    """Bits per frozen weight while adapters train. 4: NF4 by bitsandbytes (the extra `quantised`); each process holds
    the whole model, so it excludes sharding over processes. 16: bf16. Null: 16 where training computes in bf16, else
    32. The adapters are merged into the weights as they were stored, whatever this says."""


INTERVALS: Final = ("checkpoint_steps", "checkpoint_minutes", "log_steps")
"""Keys of a training that say how often something is written; they decide no weights."""


class OptimisationConfig(FrozenConfig):
    """Shared by DPO and SFT. AdamW (0.9, 0.999), as in the paper."""

    learning_rate: LearningRate
    """Peak learning rate."""
    schedule: Schedule = "linear"
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
    """auto: bf16 on an accelerator, and on a CPU with AMX where weights take 64 MiB and more; else fp32 (bf16 is about
    40 times slower on a CPU without its instructions)."""
    gradient_checkpointing: bool = False
    """Trade compute for memory."""
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    """adamw: two fp32 moments, 8 bytes per trained weight; adamw_8bit: 2 bytes (bitsandbytes, the extra `quantised`);
    paged_adamw_8bit: the same, moved to CPU memory when the GPU's is full. The 8-bit ones do not work on sharded
    weights: with `launch.sharding` full over several processes, `launch.offload` saves more."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Attention kernel; auto: the model's own choice (sdpa where it is supported). flash_attention_2 needs the package
    flash-attn and bf16."""
    keep_masters: bool = False
    """Also keep the fp32 weights, beside the stored ones (4 more bytes per weight on disk): the next training that
    starts from this model and keeps masters too goes on from them, so that progress below the stored type's precision
    is not lost from iteration to iteration. Serving reads the rounded weights. Not with `lora`."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights."""
    checkpoint_steps: Annotated[int, Field(ge=1)] = 100
    """Optimiser steps between resumable checkpoints."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = 10.0
    """A checkpoint is also written at the end of a step when the latest is so many minutes old, so that no more is lost
    where steps are slow. Null: by steps alone."""
    log_steps: Annotated[int, Field(ge=1)] = 10
    """Optimiser steps between logged metrics."""

    _ADAPTER_RATE: ClassVar[float]

    @property
    def peak_learning_rate(self) -> float:
        """The rate that training really reaches: of the adapters, where such are trained."""
        if self.lora is None:
            return self.learning_rate
        return self.lora.learning_rate or self._ADAPTER_RATE

    @model_validator(mode="after")
    def _adapters_have_a_rate_of_their_own(self) -> Self:
        if self.lora is not None and self.lora.learning_rate is None and self.learning_rate >= _MEANT_FOR_ADAPTERS:
            raise ValueError(
                f"learning_rate {self.learning_rate} is for training all weights and high for that, so the adapters' "
                f"rate is unclear: set lora.learning_rate too ({self._ADAPTER_RATE} suits large models)"
            )
        if self.lora is not None and self.keep_masters:
            raise ValueError("keep_masters is for training all weights; unset it, or leave lora out")
        return self


class DpoTrainingConfig(OptimisationConfig, GrownConfig):
    """Actor training (paper: sigmoid, beta 0.1, + 0.1 x SFT on chosen, lr 2e-7, 1 epoch, batch 32, length 2048)."""

    later = ("ends",)

    _ADAPTER_RATE = 2e-5

    learning_rate: LearningRate = 2e-7
    """Peak learning rate."""
    beta: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """DPO temperature: strength of the pull to the reference model."""
    sft_weight: Annotated[float, Field(ge=0.0, le=10.0)] = 0.1
    """Weight of the SFT term on the chosen answer; 0 leaves it out."""
    sft_reduction: Literal["token", "sequence"] = "token"
    """Average the SFT term over the tokens of the micro-batch (TRL), or per sequence and then over sequences
    (the authors' trainer)."""
    ends: Literal["all", "whole", "chosen", "none"] = "whole"
    """Which texts of a pair are learned with the token that ends an answer: all of them (the authors' trainer), those
    that were not cut at the token limit, of these the chosen ones alone, or none. Where rewrites go on behind the end
    of what they mend, the ends of rejected texts teach not to end (docs/results/smollm2.md)."""


class SftTrainingConfig(OptimisationConfig):
    """Supervised training on assistant messages (paper, refiner: lr 1e-6, constant with warm-up, 3 epochs, batch 64,
    length 4096)."""

    _ADAPTER_RATE = 1e-4

    learning_rate: LearningRate = 1e-6
    """Peak learning rate."""
    schedule: Schedule = "constant_with_warmup"
    """Shape after warm-up."""
    epochs: Annotated[float, Field(gt=0.0, le=100.0)] = 3.0
    """Passes over the data."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples per optimiser step over all processes."""
    max_length: Annotated[int, Field(ge=8)] = 4096
    """Tokens per sequence."""
    loss_turns: Literal["last", "all"] = "last"
    """What of a chat is learned: the last assistant message, or every one (published). The two differ where a chat has
    several, such as refinements under a prompt set with `refine: continuation`, whose critique is then learned too."""


class GrpoTrainingConfig(OptimisationConfig):
    """Actor training by GRPO (arXiv 2402.03300) on its own answers: methods `grpo` and `spar_then_grpo`. Rows of a
    batch are answers; an epoch is a pass over the prompts. Where nothing else is said, values are TRL's defaults."""

    _ADAPTER_RATE = 1e-5

    learning_rate: LearningRate = 1e-6
    """Peak learning rate."""
    schedule: Schedule = "constant_with_warmup"
    """Shape after warm-up."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Answers per optimiser step over all processes: batch_size / group prompts."""
    group: Annotated[int, Field(ge=2, le=256)] = 8
    """Answers per prompt, whose rewards are compared with one another."""
    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Softmax temperature of the answers."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Nucleus mass of the answers."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """Limit of new tokens per answer. A prompt must fit into the rest of `max_length`: it is never cut, but dropped."""
    reward: Literal["share", "all_met", "judged"] = "share"
    """share: of the prompt's constraints that an answer meets; all_met: 1 where it meets all, else 0; one that trips a
    wire gets 0 under both. judged: what the run's refiner says of it as `method.judging` has it judge: the share of YES
    among its votes, and rules where `judging.anchor` names them; 0 where they decide nothing. A cut or empty answer
    gets 0 under all."""
    beta: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """Weight of the KL divergence from the starting model; above 0 it is loaded beside the one that trains."""
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """How far the ratio of probabilities may move from 1 before it is clipped."""
    loss: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """How token losses are averaged: per answer, over all tokens of the batch, or by the constant `max_tokens`."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What advantages are divided by: the standard deviation of rewards in the group, in the batch, or nothing."""
    generation: Literal["transformers", "vllm"] = "transformers"
    """What draws the answers: the model that trains itself, or vLLM beside it on the same GPU (TRL's `colocate`; vllm
    must be installed in this environment)."""

    @model_validator(mode="after")
    def _groups_fill_a_batch(self) -> Self:
        if self.batch_size % self.group:
            raise ValueError(
                f"batch_size {self.batch_size} counts answers and must be a multiple of group {self.group}, so that "
                "all answers to a prompt share a step"
            )
        if self.max_tokens >= self.max_length:
            raise ValueError(
                f"max_tokens {self.max_tokens} leaves no room for a prompt in max_length {self.max_length}; raise "
                "max_length, or lower max_tokens"
            )
        return self


def check_spread(config: OptimisationConfig, launch: LaunchConfig) -> None:
    """Refuse what cannot be shared out over processes.

    For GRPO it is asked where a run takes it (`RunConfig`): what is not used refuses nothing.

    Raises:
        ValueError: says what to set instead.
    """
    if not launch.shards:
        return
    if isinstance(config, GrpoTrainingConfig):
        raise ValueError(
            "training.grpo draws its answers with the model that trains, which must be whole: set launch.sharding=none"
        )
    if config.optimizer != "adamw":
        raise ValueError(
            f"optimizer {config.optimizer} cannot step on sharded weights (bitsandbytes knows no DTensor): take adamw, "
            "with launch.offload=true where memory is short, or set launch.sharding=none"
        )
    if config.lora is not None and config.lora.base_bits == 4:
        raise ValueError(
            "lora.base_bits 4 cannot be sharded: every process holds its own 4-bit model (half a byte per weight); set "
            "launch.sharding=none, or base_bits=16 to shard"
        )


def uneven_batch(config: OptimisationConfig, processes: int) -> str | None:
    """Why an optimiser step cannot be shared out over so many processes; None where it can."""
    micro = min(config.micro_batch_size, config.batch_size)
    if config.batch_size % (micro * processes) == 0:
        return None
    remedy = "another batch_size" if config.batch_size % processes else "a micro_batch_size that divides it"
    return (
        f"batch_size {config.batch_size} is not a multiple of processes x micro_batch_size ({processes} x {micro}); "
        f"choose {remedy}"
    )


class TrainingConfig(FrozenConfig):
    """All trainings of a run."""

    actor: DpoTrainingConfig = DpoTrainingConfig()
    """DPO on the pairs of each iteration."""
    refiner: SftTrainingConfig = SftTrainingConfig()
    """RFT (SFT on accepted data) of each iteration."""
    judge: DpoTrainingConfig | None = None
    """`meta_rewarding`: DPO of the refiner on pairs of judgements; null takes the actor's values with the refiner's
    `max_length`."""
    warm_start_actor: SftTrainingConfig = SftTrainingConfig(learning_rate=2e-6, epochs=5.0)
    """Iteration 0, actor (paper: lr 2e-6, 5 epochs on 8k answers)."""
    warm_start_refiner: SftTrainingConfig = SftTrainingConfig(learning_rate=2e-6)
    """Iteration 0, refiner (paper: lr 2e-6, 3 epochs on 5k judgements and refinements)."""
    grpo: GrpoTrainingConfig = GrpoTrainingConfig()
    """GRPO on the prompts of an iteration, under the methods that have it."""
    launch: LaunchConfig = LaunchConfig()
    """The subprocess."""

    @model_validator(mode="after")
    def _can_be_spread(self) -> Self:
        for training in (self.actor, self.refiner, self.judge, self.warm_start_actor, self.warm_start_refiner):
            if training is not None:
                check_spread(training, self.launch)
        return self

    def judge_training(self) -> DpoTrainingConfig:
        """How the refiner learns from pairs of judgements."""
        return self.judge or self.actor.model_copy(update={"max_length": self.refiner.max_length})
