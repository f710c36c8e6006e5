"""What serving a model needs of each GPU's memory, and how many sequences that leaves room for."""

from typing import NamedTuple

from spar_core.planning.devices import GIB
from spar_core.planning.shapes import ModelShape

_WORKSPACE = 2.0 * GIB  # of a vLLM server: its profile of the largest batch, captured graphs, driver


class ServingMemory(NamedTuple):
    """Bytes per GPU. `sequences` of `tokens` tokens fit at once in each replica; below one the model does not fit."""

    weights: float
    workspace: float
    cache: float
    cache_tokens: int
    sequences: float
    tokens: int

    @property
    def total(self) -> float:
        """What a GPU gives to the server."""
        return self.weights + self.workspace + self.cache


def serving_memory(
    shape: ModelShape, memory: float, *, share: float, split: int, tokens: int, element_bytes: int = 2
) -> ServingMemory:
    """Memory of one replica whose weights and heads are split over GPUs.

    Args:
        shape: the model.
        memory: bytes of one GPU.
        share: of it that the server may take.
        split: GPUs per replica (`engine.tensor_parallel`).
        tokens: of one sequence, prompt and answer.
        element_bytes: of a weight and of a cached key or value.
    """
    weights = shape.parameters * element_bytes / split
    cache = share * memory - weights - _WORKSPACE
    per_token = shape.cache_bytes(split, element_bytes)
    held = max(0, int(cache / per_token))
    return ServingMemory(weights, _WORKSPACE, max(0.0, cache), held, held / tokens, tokens)
