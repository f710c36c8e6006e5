"""What processors can do at most, by their makers' data sheets, and what share of it a run is assumed to get."""

from collections.abc import Collection
from typing import Final, Literal, NamedTuple

from spar_core.errors import ConfigError
from spar_core.processors import trains_in_bfloat16

GIB: Final = 2**30


class Device(NamedTuple):
    """One processor: dense multiply-adds as operations per second (of a GPU bf16, of a CPU fp32), bytes per second and
    bytes of its memory. Of a CPU: `bf16_flops` (None: as `flops`), and `flags`, its instruction sets."""

    name: str
    flops: float
    bandwidth: float
    memory: float
    bf16_flops: float | None = None
    flags: frozenset[str] = frozenset()

    @property
    def is_gpu(self) -> bool:
        """Whether it is an accelerator; a CPU shares the machine's memory with everything else."""
        return self.name != CPU

    def trains_in_bf16(self, weights: float) -> bool:
        """Whether a model of so many bytes on the disk is trained in bfloat16 unless somebody says otherwise."""
        return self.is_gpu or trains_in_bfloat16(weights, self.flags)

    def training_flops(self, precision: Literal["fp32", "bf16"]) -> float:
        """Of a training's products."""
        return self.flops if precision == "fp32" or self.bf16_flops is None else self.bf16_flops


CPU: Final = "cpu"
# Products of one core, measured (docs/results/cpu-speed.md, smollm2.md); bf16 in AVX-512 alone counts as twice fp32.
_FP32_CORE_FLOPS, _FP32_AVX512_CORE_FLOPS = 50e9, 85e9
_BF16_CORE_FLOPS, _BF16_AVX512_CORE_FLOPS, _BF16_AMX_CORE_FLOPS = 1.3e9, 170e9, 200e9
_CPU_BANDWIDTH = 15e9

GPUS: Final = {
    gpu.name: gpu
    for gpu in (
        Device("a100", 312e12, 2.04e12, 80 * GIB),
        Device("h100", 989e12, 3.35e12, 80 * GIB),
        Device("h200", 989e12, 4.8e12, 140 * GIB),
        Device("b200", 2250e12, 8.0e12, 180 * GIB),
        Device("mi300x", 1307e12, 5.3e12, 192 * GIB),
        Device("l40s", 362e12, 0.864e12, 48 * GIB),
        Device("rtx4090", 165e12, 1.008e12, 24 * GIB),
        Device("a10", 125e12, 0.6e12, 24 * GIB),
        Device("l4", 121e12, 0.3e12, 24 * GIB),
    )
}
"""By the name that `--device` takes."""
_USUAL = 80.0 * GIB
_BY_MEMORY = ((20.0, "l4"), (30.0, "rtx4090"), (60.0, "l40s"), (100.0, "a100"), (150.0, "h200"), (185.0, "b200"))


def gpu_named(name: str | None, memory: float | None) -> Device:
    """A GPU with `memory` bytes (None: its maker's), without a name one of such a memory, of two alike the slower.

    Raises:
        ConfigError: the name is not known.
    """
    if name is None:
        has = (memory or _USUAL) / GIB
        name = next((entry for limit, entry in _BY_MEMORY if has <= limit), "mi300x")
    if name not in GPUS:
        raise ConfigError(
            f"unknown device {name!r}; known: {', '.join(GPUS)}, {CPU}. Any other: give its rates (--rates FILE)"
        )
    return GPUS[name] if memory is None else GPUS[name]._replace(memory=memory)


def this_cpu(cores: int, memory: float, flags: Collection[str] = ()) -> Device:
    """A CPU with so many cores, so many bytes of memory and these instruction sets, as `/proc/cpuinfo` names them."""
    fp32 = _FP32_AVX512_CORE_FLOPS if "avx512f" in flags else _FP32_CORE_FLOPS
    bf16 = _BF16_AVX512_CORE_FLOPS if {"avx512_bf16", "bf16"} & set(flags) else _BF16_CORE_FLOPS
    bf16 = _BF16_AMX_CORE_FLOPS if "amx_bf16" in flags else bf16
    return Device(CPU, fp32 * cores, _CPU_BANDWIDTH, memory, bf16 * cores, frozenset(flags))
