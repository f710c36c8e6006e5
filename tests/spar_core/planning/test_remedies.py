"""What is named as fitting fits, and the mildest change comes first."""

from spar_core.planning import KNOWN, TrainingLoad, training_memory
from spar_core.planning.devices import GIB, gpu_named
from spar_core.planning.hardware import Hardware
from spar_core.planning.remedies import Remedy, splits_that_fit, training_remedies

LLAMA = KNOWN["meta-llama/Meta-Llama-3-8B-Instruct"]
LARGE = KNOWN["meta-llama/Meta-Llama-3-70B-Instruct"]
PAIR = TrainingLoad(sequences=2, tokens=2048, checkpointing=True)


def remedies(shape: object, load: TrainingLoad, gpus: int, memory: float = 80) -> list[Remedy]:
    hardware = Hardware(gpu_named("a100", memory * GIB), gpus)
    return training_remedies(shape, load, hardware, "actor", least=2)  # type: ignore[arg-type]


def test_sharding_comes_first_where_it_is_enough() -> None:
    found = remedies(LLAMA, PAIR, 8)
    assert found[0].settings == ("training.launch.sharding=full",)
    assert found[0].gpus == 8


def test_smaller_steps_are_enough_for_a_little_too_much() -> None:
    load = PAIR._replace(sharded=True, checkpointing=False, sequences=16)
    found = remedies(LLAMA, load, 8)
    assert found[0].settings == ("training.actor.gradient_checkpointing=true",)


def test_a_large_model_is_offered_more_machines_offloading_or_adapters() -> None:
    load = PAIR._replace(sharded=True)
    found = remedies(LARGE, load, 8)
    named = [remedy.settings for remedy in found]
    assert ("training.launch.offload=true",) in named
    assert any("training.actor.lora.rank=16" in settings for settings in named)
    assert [remedy.gpus for remedy in found if remedy.gpus > 8] == [32]
    assert all(remedy.memory.total <= 80 * GIB for remedy in found)


def test_every_remedy_is_true() -> None:
    for remedy in remedies(LLAMA, PAIR._replace(checkpointing=False), 1, 24):
        assert remedy.memory.total <= 24 * GIB
        if "training.actor.lora.rank=16" in remedy.settings:
            bits = 4 if "training.actor.lora.base_bits=4" in remedy.settings else 16
            eased = "training.actor.gradient_checkpointing=true" in remedy.settings
            load = PAIR._replace(checkpointing=eased, lora_rank=16, base_bits=bits)
            assert remedy.memory == training_memory(LLAMA, load, 1)


def test_the_smallest_split() -> None:
    assert splits_that_fit(lambda split: split >= 3, 8) == 4
    assert splits_that_fit(lambda split: split > 8, 8) is None
