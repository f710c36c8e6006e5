"""Room for keys and values: by hand, and against the cache of the in-process engine."""

import torch
from transformers import LlamaConfig

from spar_core.engines.configuration import TransformersEngineConfig, VllmEngineConfig
from spar_core.engines.kv_cache import SlotCache, rounded
from spar_core.planning import KNOWN, ModelShape, serving_memory
from spar_core.planning.devices import GIB, gpu_named, this_cpu
from spar_core.planning.hardware import Hardware, serving

LLAMA = KNOWN["meta-llama/Meta-Llama-3-8B-Instruct"]
LARGE = KNOWN["meta-llama/Meta-Llama-3-70B-Instruct"]


def test_what_the_weights_leave_holds_sequences() -> None:
    found = serving_memory(LLAMA, 80 * GIB, share=0.9, split=1, tokens=1000)
    left = 72 * GIB - 2 * LLAMA.parameters - 2 * GIB
    assert found.cache == left
    assert found.cache_tokens == int(left / 131_072)
    assert found.sequences == found.cache_tokens / 1000
    # Half of the weights and half of the heads on each of two.
    halved = serving_memory(LLAMA, 80 * GIB, share=0.9, split=2, tokens=1000)
    assert halved.weights == LLAMA.parameters
    assert halved.cache_tokens == int((72 * GIB - LLAMA.parameters - 2 * GIB) / 65_536)


def test_weights_that_do_not_fit_leave_no_room() -> None:
    assert serving_memory(LARGE, 80 * GIB, share=0.9, split=1, tokens=1000).cache_tokens == 0


def test_the_cache_of_the_in_process_engine() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, num_key_value_heads=2, head_dim=8, vocab_size=120)
    shape = ModelShape.of_config(config.to_dict(), "tiny")
    cache = SlotCache(torch.float32)
    cache.reserve(48, 200)
    slots, length = rounded(48, 200)
    for layer in range(shape.layers):
        keys = torch.zeros(1, 2, 3, 8)
        cache.begin_prefill(torch.tensor([0]), torch.tensor([0]))
        cache.update(keys, keys, layer)
    held = sum(tensor.nbytes for tensors in (cache._keys, cache._values) for tensor in tensors)
    assert held == slots * length * shape.cache_bytes(element_bytes=4)


def test_copies_fill_the_machine() -> None:
    machine = Hardware(gpu_named("a100", None), 8)
    assert serving(LLAMA, VllmEngineConfig(), machine, tokens=1000)[:2] == (8, 1)  # type: ignore[index]
    assert serving(LARGE, VllmEngineConfig(tensor_parallel=4), machine, tokens=1000)[:2] == (2, 4)  # type: ignore[index]
    assert serving(LLAMA, VllmEngineConfig(replicas=2), machine, tokens=1000)[:2] == (2, 1)  # type: ignore[index]
    # A server lies on one machine, whatever trainings go over.
    assert serving(LLAMA, VllmEngineConfig(), machine._replace(number=32), tokens=1000)[:2] == (8, 1)  # type: ignore[index]
    assert serving(LARGE, VllmEngineConfig(tensor_parallel=16), machine, tokens=1000) is None
    # A second voter beside it takes half of them.
    assert serving(LLAMA, VllmEngineConfig(), machine, tokens=1000, models=2)[:2] == (4, 1)  # type: ignore[index]
    assert serving(LLAMA, TransformersEngineConfig(), machine, tokens=1000)[:2] == (1, 1)  # type: ignore[index]
    # A role with GPUs of its own has these, and shares them with nobody.
    roles = VllmEngineConfig.model_validate({"roles": {"actor": {"gpus": 6}}})
    found = [serving(LLAMA, roles.for_role(role), machine, tokens=1000, models=2) for role in ("actor", "refiner")]
    assert [served and served.replicas for served in found] == [6, 2]


def test_replicas_on_a_cpu_share_its_memory() -> None:
    machine, engine = Hardware(this_cpu(8, 96 * GIB), 1), VllmEngineConfig(replicas=2, cpu_cache_gib=4)
    found = serving(LLAMA, engine, machine, tokens=1000)
    assert found is not None
    assert (found.replicas, found.split) == (2, 1)
    assert found.memory.weights == 4 * LLAMA.parameters
    assert found.memory.cache == 4 * GIB
    # A quarter of the memory, 24 GiB, is less than the weights in fp32.
    too_many = serving(LLAMA, engine.model_copy(update={"replicas": 4}), machine, tokens=1000)
    assert too_many is not None
    assert too_many.memory.cache_tokens == 0
