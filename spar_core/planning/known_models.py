"""Shapes of models that need not be on this machine: facts of their published config.json files."""

from typing import Final

from spar_core.planning.shapes import ModelShape

_GLM4_BIASES = 40 * (4096 + 2 * 256)  # of queries, keys and values

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
}
"""By hub id, as `models.actor` names them."""
