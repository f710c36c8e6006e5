"""The formulas against what PyTorch really holds, counted tensor by tensor on a small model."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer.utils import add_fused_lm_head

from spar_core.planning import KNOWN, ModelShape, TrainingLoad, training_memory
from spar_core.planning.training_memory import adapter_parameters, block_activations, saved_activations

_SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 600,
    "max_position_embeddings": 512,
}
_SEQUENCES, _TOKENS = 2, 208
SHAPE = ModelShape.of_config(_SIZES, "small")
_NEAR = 0.05


def model(dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> LlamaForCausalLM:
    torch.manual_seed(0)
    made = LlamaForCausalLM(LlamaConfig(**_SIZES, attn_implementation=attention)).to(dtype)
    made.train()
    return made


def saved_bytes(network: Any, *, autocast: bool, padded: bool) -> tuple[int, int]:
    """Bytes autograd keeps of the forward pass: (activations, copies of weights)."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    shapes = {tuple(parameter.shape) for parameter in network.parameters() if parameter.ndim == 2}
    shapes |= {shape[::-1] for shape in shapes}
    activations: dict[int, torch.UntypedStorage] = {}
    copies: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            (copies if tuple(tensor.shape) in shapes else activations)[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, _SIZES["vocab_size"], (_SEQUENCES, _TOKENS))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, -20:] = 0
    casting = torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext()
    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    add_fused_lm_head(base)  # as the trainers do
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), casting:
        network(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True)
    return tuple(sum(storage.nbytes() for storage in found.values()) for found in (activations, copies))  # type: ignore[return-value]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("regime", ["fp32", "autocast", "bf16", "adapters"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_saved_activations(regime: str, padded: bool, checkpointing: bool) -> None:
    network: Any = model(torch.bfloat16 if regime in ("bf16", "adapters") else torch.float32)
    autocast, rank = regime in ("autocast", "adapters"), 0
    if regime == "adapters":
        from peft import LoraConfig, get_peft_model

        rank = 8
        network = get_peft_model(network, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
        network.enable_input_require_grads()
    if checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    kept, copied = saved_bytes(network, autocast=autocast, padded=padded)
    load = TrainingLoad(
        sequences=_SEQUENCES,
        tokens=_TOKENS,
        precision="fp32" if regime == "fp32" else "bf16",
        checkpointing=checkpointing,
        sharded=regime == "bf16",
        lora_rank=rank,
        padded=padded,
    )
    assert saved_activations(SHAPE, load) == pytest.approx(kept, rel=_NEAR)
    if regime == "autocast" and not checkpointing:
        assert copied == 2 * SHAPE.layers * SHAPE.block_linear
        assert training_memory(SHAPE, load).copies == copied


@pytest.mark.parametrize("autocast", [False, True])
def test_plain_attention_keeps_every_weight_of_it(autocast: bool) -> None:
    kept, _ = saved_bytes(model(attention="eager"), autocast=autocast, padded=True)
    precision = "bf16" if autocast else "fp32"
    load = TrainingLoad(sequences=_SEQUENCES, tokens=_TOKENS, precision=precision, attention="eager")  # type: ignore[arg-type]
    assert saved_activations(SHAPE, load) == pytest.approx(kept, rel=_NEAR)


def test_weights_gradients_and_moments() -> None:
    network = model()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(input_ids=torch.randint(0, 600, (1, 16))).logits.sum().backward()
    optimizer.step()
    memory = training_memory(SHAPE, TrainingLoad(sequences=1, tokens=16, precision="fp32"))
    assert memory.weights == sum(p.nbytes for p in network.parameters())
    assert memory.gradients == sum(p.grad.nbytes for p in network.parameters() if p.grad is not None)
    moments = sum(t.nbytes for state in optimizer.state.values() for name, t in state.items() if name != "step")
    assert memory.optimizer == moments


def test_adapters_are_counted_as_they_are_made() -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model(), LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert adapter_parameters(SHAPE, 8) == trained


@pytest.mark.parametrize(
    ("sequences", "rank", "measured"),
    [(1, 0, 60.40), (2, 0, 60.96), (1, 32, 8.23), (2, 32, 9.08)],
    ids=["full-sft", "full-dpo", "lora-sft", "lora-dpo"],
)
def test_against_what_an_h200_held(sequences: int, rank: int, measured: float) -> None:
    """Peaks in GiB that `benchmarks/training_scale.py` measured: twelve layers of Llama-3-8B's shape, sequences of 2048
    tokens of which half are scored, gradient checkpointing, one process (`max_memory_allocated`)."""
    shape = KNOWN["meta-llama/Meta-Llama-3-8B-Instruct"]._replace(layers=12)
    load = TrainingLoad(sequences=sequences, tokens=2048, checkpointing=True, lora_rank=rank, padded=False)
    assert training_memory(shape, load).allocated / 2**30 == pytest.approx(measured, rel=_NEAR)


def test_sharding_shares_everything_but_what_a_block_needs() -> None:
    shape = KNOWN["meta-llama/Meta-Llama-3-8B-Instruct"]
    load = TrainingLoad(sequences=2, tokens=2048, checkpointing=True, sharded=True)
    eight, alone = training_memory(shape, load, 8), training_memory(shape, load._replace(sharded=False), 8)
    # 16 bytes per parameter: 2 on each of eight GPUs; without sharding 16 on each, and 4 in the buckets.
    assert eight.weights + eight.gradients + eight.optimizer == 2 * shape.parameters
    assert alone.weights + alone.gradients + alone.optimizer == 20 * shape.parameters
    assert eight.checkpoint == 12 * shape.parameters
    assert training_memory(shape, load._replace(offload=True), 8).weights == 0
    # Kept of each block: its input, two bytes per feature.
    assert saved_activations(shape, load) == pytest.approx(32 * 2 * 2048 * 4096 * 2, rel=0.15)
    assert block_activations(shape, load) < 4e9
