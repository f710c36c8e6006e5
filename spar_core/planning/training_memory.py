"""What one training needs of each GPU's memory and of the host's, by counting what the trainer really keeps.

Static: fp32 weights, gradients and two moments of AdamW, 16 bytes per parameter in all; with `sharding: full` each of
N processes holds 1/N of them and gathers one block after the other in bfloat16. Of activations, what autograd saves in
each block is counted tensor by tensor (docs/planning.md has the list). Logits are no part of it: the loss is computed
in tiles of 4096 tokens x 32768 words, but the head's gradient is summed in fp32. Log-probabilities of DPO's reference
are computed before training, so there is no second model.
"""

from typing import Literal, NamedTuple

from spar_core.config.launch import LaunchConfig
from spar_core.config.training import DpoTrainingConfig, OptimisationConfig
from spar_core.planning.devices import GIB
from spar_core.planning.shapes import ModelShape

_TILE_TOKENS, _TILE_WORDS = 4096, 32_768  # of the loss
_ADAM = {"adamw": 8.0, "adamw_8bit": 2.04, "paged_adamw_8bit": 2.04}  # bytes per parameter of both moments
_NF4 = 0.53  # bytes per parameter: four bits and their scales
_CONTEXT = 0.75 * GIB  # the driver's and the libraries' own
_SPARE = 0.05  # of the rest, lost between the allocator's blocks
_PROCESS = 3 * GIB  # host memory of a process that has loaded the libraries
_WRITTEN_FILE = 5e9  # of the trained weights, gathered by the first process


class TrainingLoad(NamedTuple):
    """What of a training's settings decides its memory.

    `sequences` of `tokens` tokens go through the model at once, per process; `scored` is the share of tokens that the
    loss looks at. `precision`: of the products, `fp32` or `bf16`. `padded`: whether a batch holds sequences of unequal
    length, which takes a mask. `lora_rank` 0 trains all weights; `base_bits` are those of weights below adapters.
    """

    sequences: int
    tokens: int
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpointing: bool = False
    sharded: bool = False
    offload: bool = False
    optimizer: str = "adamw"
    lora_rank: int = 0
    base_bits: int = 16
    padded: bool = True
    scored: float = 0.5
    attention: str = "auto"

    @classmethod
    def of(cls, config: OptimisationConfig, launch: LaunchConfig, *, usual_bf16: bool = True) -> "TrainingLoad":
        """The load of a configuration; the longest sequences that it lets through decide.

        Args:
            config: the training.
            launch: how it is spread.
            usual_bf16: whether the processor trains the model in bfloat16 unless the configuration names a type.
        """
        pairs = isinstance(config, DpoTrainingConfig)
        bf16 = config.precision == "bf16" or (config.precision == "auto" and usual_bf16)
        lora = config.lora
        return cls(
            sequences=min(config.micro_batch_size, config.batch_size) * (2 if pairs else 1),
            tokens=config.max_length,
            precision="bf16" if bf16 else "fp32",
            checkpointing=config.gradient_checkpointing,
            sharded=launch.shards,
            offload=launch.offload,
            optimizer=config.optimizer,
            lora_rank=lora.rank if lora else 0,
            base_bits=(lora.base_bits or 16) if lora else 16,
            padded=pairs or config.micro_batch_size > 1,
            attention=config.attention,
        )


class TrainingMemory(NamedTuple):
    """Bytes per GPU at the peak, by what holds them; `host` and `checkpoint` are of all processes of the run.

    `copies`: bfloat16 copies of weights, and blocks gathered from other GPUs. `workspace`: of the loss and the backward
    pass. `reserve`: driver and allocator.
    """

    weights: float
    gradients: float
    optimizer: float
    copies: float
    activations: float
    workspace: float
    reserve: float
    host: float
    checkpoint: float

    @property
    def allocated(self) -> float:
        """What PyTorch counts as allocated at the peak (`max_memory_allocated`)."""
        return self.weights + self.gradients + self.optimizer + self.copies + self.activations + self.workspace

    @property
    def total(self) -> float:
        """What a GPU must have."""
        return self.allocated + self.reserve


def training_memory(shape: ModelShape, load: TrainingLoad, gpus: int = 1) -> TrainingMemory:
    """Memory of a training with one process on each of `gpus` GPUs."""
    shards = gpus if load.sharded else 1
    trained = adapter_parameters(shape, load.lora_rank) if load.lora_rank else shape.parameters
    weights = base_bytes(shape, load) + (4.0 * trained if load.lora_rank else 0.0)
    gradients = 4.0 * trained
    moments = _moments(shape, load, trained)
    buckets = 4.0 * trained if gpus > 1 and not load.sharded else 0.0  # of distributed data parallel
    saved = saved_activations(shape, load)
    peak = max(_peaks(shape, load), key=sum)
    paged = load.optimizer.startswith("paged")
    on_gpu = 0.0 if load.offload else 1.0 / shards
    parts = {
        "weights": weights * on_gpu,
        "gradients": (gradients + buckets) * on_gpu,
        "optimizer": 0.0 if paged else moments * on_gpu,
    }
    allocated = sum(parts.values()) + saved + peak.copies + peak.workspace
    return TrainingMemory(
        **parts,
        copies=peak.copies,
        activations=saved,
        workspace=peak.workspace,
        reserve=_CONTEXT + _SPARE * allocated,
        host=_host(shape, load, gpus, weights + gradients + moments, moments if paged else 0.0),
        checkpoint=4.0 * trained + moments,
    )


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Parameters of adapters on every linear layer of every block."""
    return shape.layers * rank * (sum(shape.linear_inputs) + sum(shape.linear_outputs))


def base_bytes(shape: ModelShape, load: TrainingLoad) -> float:
    """Bytes of the model's own weights: fp32 masters, or what lies frozen below adapters."""
    if not load.lora_rank or load.precision == "fp32":
        return 4.0 * shape.parameters
    matrices = shape.layers * shape.block_linear
    frozen = _NF4 if load.base_bits == 4 else load.base_bits / 8
    return frozen * matrices + 2.0 * (shape.parameters - matrices)


def saved_activations(shape: ModelShape, load: TrainingLoad) -> float:
    """Bytes that autograd keeps from the forward to the backward pass, over all blocks."""
    tokens = load.sequences * load.tokens
    last = 6 if load.lora_rank else 8 if _residual_bytes(load) == 2 else 12  # of the last norm, and of its result
    around = tokens * shape.hidden * last
    if not load.checkpointing:
        return shape.layers * block_activations(shape, load) + around
    return shape.layers * tokens * shape.hidden * _residual_bytes(load) + around


def block_activations(shape: ModelShape, load: TrainingLoad) -> float:
    """Bytes that autograd keeps of one block without checkpointing.

    Norms keep fp32 tensors; linear layers their input, of which autocast makes a copy each; attention its queries,
    keys, values and result; the gated layer three of its width.
    """
    hidden, wide, queries, keys = shape.hidden, shape.intermediate, shape.query_width, shape.kv_width
    tokens = load.sequences * load.tokens
    element = 4 if load.precision == "fp32" else 2
    masked = load.padded and load.attention != "flash_attention_2"
    if masked or load.attention == "eager":
        keys = queries  # keys and values are repeated for every query head
    attention = element * (2 * queries + 2 * keys) + 4 * shape.heads
    if load.lora_rank:
        norms = 2 * 4 * hidden
        inputs = element * (5 * hidden + queries + shape.intermediate) + 7 * element * load.lora_rank
        gated = 3 * element * wide
    elif load.precision == "fp32":
        norms, inputs, gated = 2 * 8 * hidden, 2 * 4 * hidden, 4 * element * wide
    elif load.sharded:  # weights come as bfloat16, so nothing is cast on the way
        norms, inputs, gated = 2 * 6 * hidden, 2 * 2 * hidden, 4 * element * wide
    else:
        norms, inputs, gated = 2 * 8 * hidden, 5 * 2 * hidden, 4 * element * wide
    squares = element if masked else 0
    if load.attention == "eager":  # every weight of every head, in fp32 and as it is multiplied
        squares += shape.heads * (4 if element == 4 else 4 + element)
    return float(tokens * (norms + inputs + gated + attention + load.tokens * squares))


class _Peak(NamedTuple):
    copies: float
    workspace: float


def _peaks(shape: ModelShape, load: TrainingLoad) -> tuple[_Peak, ...]:
    """Copies and workspace where the backward pass begins, at the head, and in the blocks after it."""
    tokens = load.sequences * load.tokens
    scored = max(1.0, tokens * load.scored)
    element = 4 if load.precision == "fp32" else 2
    trains_head = not load.lora_rank
    tile = element * min(scored, _TILE_TOKENS) * min(shape.vocabulary, _TILE_WORDS)
    head = tile + element * min(shape.vocabulary, _TILE_WORDS) * shape.hidden + 6.0 * scored * shape.hidden
    summed = 4.0 * shape.head if trains_head else 0.0
    backward = float(tokens * element) * (3 * shape.intermediate + 4 * shape.hidden)
    if load.checkpointing:
        backward += block_activations(shape, load)
    gathered, gradients = 0.0, 0.0
    if load.sharded:
        gathered = 2.0 * (shape.outside + 2 * shape.block)
        gradients = 2.0 * (2 * shape.block + shape.head) if trains_head else 0.0
    elif load.precision == "bf16" and not load.lora_rank and not load.checkpointing:
        gathered = 2.0 * shape.layers * shape.block_linear  # autocast's copies, which the backward pass needs
    elif load.lora_rank and load.base_bits == 4:
        gathered = 2.0 * shape.hidden * shape.intermediate  # one matrix at a time
    rounded = 2.0 * shape.head if trains_head and load.sharded else 0.0
    peaks = [_Peak(gathered, head + summed + rounded), _Peak(gathered, backward + gradients)]
    if load.precision == "bf16" and not load.lora_rank and not load.sharded and load.checkpointing:
        # Autocast keeps its copies until the forward pass ends; they are made again block by block.
        peaks.append(_Peak(2.0 * shape.layers * shape.block_linear, tile))
    return tuple(peaks)


def _moments(shape: ModelShape, load: TrainingLoad, trained: float) -> float:
    """Bytes of AdamW's moments; those of an embedding stay in fp32 whatever the optimiser."""
    per_parameter = _ADAM.get(load.optimizer, _ADAM["adamw"])
    if load.optimizer == "adamw" or load.lora_rank:
        return per_parameter * trained
    return per_parameter * (trained - shape.head) + _ADAM["adamw"] * shape.head


def _residual_bytes(load: TrainingLoad) -> int:
    """Of one feature of the stream between blocks: fp32 where fp32 weights embed the tokens."""
    return 2 if load.precision == "bf16" and (load.sharded or load.lora_rank) else 4


def _host(shape: ModelShape, load: TrainingLoad, gpus: int, states: float, paged: float) -> float:
    """Bytes of the machines' memory: every process, weights on their way, and what is kept off the GPU.

    Unsharded weights are read whole by every process; sharded ones part by part, and written a file at a time.
    """
    read = base_bytes(shape, load) if load.base_bits > 4 else 2.0 * shape.parameters
    held = min(_WRITTEN_FILE, read) if load.sharded else read * gpus
    return gpus * _PROCESS + held + (states if load.offload else paged)
