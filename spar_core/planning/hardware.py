"""What a run has to compute on, and how its model servers are laid out on it."""

from typing import Final, NamedTuple

from spar_core.engines.batch_rows import batch_rows
from spar_core.engines.configuration import EngineConfig, VllmEngineConfig
from spar_core.planning.devices import GIB, Device
from spar_core.planning.serving_memory import ServingMemory, serving_memory
from spar_core.planning.shapes import ModelShape

NODE_GPUS: Final = 8
"""Most GPUs of one machine; a server lies on one machine, a training may go over several."""
_CPU_CACHE_SHARE, _GPU_CACHE_SHARE = 0.25, 0.8  # of the free memory, what the in-process engine takes at most
_CPU_CACHE_LEAST = 1.0  # GiB


class Hardware(NamedTuple):
    """So many equal processors. `assumed`: nobody named them, and this machine has none like that."""

    device: Device
    number: int
    assumed: bool = False

    @property
    def per_node(self) -> int:
        """Processors of one machine."""
        return min(self.number, NODE_GPUS)

    @property
    def nodes(self) -> int:
        """Machines."""
        return -(-self.number // NODE_GPUS)

    def shown(self) -> str:
        """`8 x a100 with 80 GiB`."""
        if not self.device.is_gpu:
            return f"CPU with {self.device.memory / GIB:.0f} GiB"
        return f"{self.number} x {self.device.name} with {self.device.memory / GIB:.0f} GiB"


class Serving(NamedTuple):
    """How a model is served: `replicas` of it, each split over `split` GPUs and asked `asked` sequences at once."""

    replicas: int
    split: int
    asked: int
    memory: ServingMemory


def serving(
    shape: ModelShape, engine: EngineConfig, hardware: Hardware, *, tokens: int, models: int = 1
) -> Serving | None:
    """The servers of a model; None where its engine needs more GPUs than a machine has.

    Args:
        shape: the model.
        engine: what serves it.
        hardware: where.
        tokens: of a sequence, prompt and answer.
        models: loaded side by side.
    """
    if isinstance(engine, VllmEngineConfig) and hardware.device.is_gpu:
        own = engine.own_gpus
        number, models = (hardware.per_node, models) if own is None else (len(own.of(range(hardware.per_node))), 1)
        together = number // models or 1
        replicas = engine.replicas_on(together)
        if engine.tensor_parallel * replicas > number:
            return None
        share = engine.gpu_memory_utilization / (1 if models * engine.tensor_parallel <= number else models)
        memory = serving_memory(shape, hardware.device.memory, share=share, split=engine.tensor_parallel, tokens=tokens)
        return Serving(replicas, engine.tensor_parallel, engine.max_concurrency, memory)
    element = 2 if hardware.device.is_gpu else 4
    whole = shape.parameters * element
    if isinstance(engine, VllmEngineConfig):  # the servers share the machine's memory, and its cores
        replicas = engine.replicas_on(1)
        each = hardware.device.memory / (replicas * models)
        cache = max(0.0, min(engine.cpu_cache_gib * GIB, each - whole))
        held = int(cache / shape.cache_bytes(1, element))
        memory = ServingMemory(whole, 0.0, cache, held, held / tokens, tokens)
        return Serving(replicas, 1, engine.max_concurrency, memory)
    given = getattr(engine, "cache_gib", None)
    free = (hardware.device.memory - whole) * (_GPU_CACHE_SHARE if hardware.device.is_gpu else _CPU_CACHE_SHARE)
    free = free if hardware.device.is_gpu else max(free, _CPU_CACHE_LEAST * GIB)
    cache = free if given is None else given * GIB
    held = max(0, int(cache / shape.cache_bytes(1, element)))
    memory = ServingMemory(whole, 0.0, max(0.0, cache), held, held / tokens, tokens)
    spare = hardware.device.memory - whole - memory.cache if hardware.device.is_gpu else None
    rows = getattr(engine, "max_batch_rows", None) or batch_rows(shape.vocabulary, spare_bytes=spare)
    return Serving(1, 1, rows, memory)
