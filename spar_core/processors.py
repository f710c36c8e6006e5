"""What this machine can do for us: how many cores, how much memory, and in which number type it computes fast."""

import os
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import psutil

LARGE_MODEL: Final = 64 * 2**20
"""Bytes of weights from which a CPU's faster ways gain something: a smaller model stays in its cache."""

_CONTAINER_MEMORY = (  # files of control groups, version 2 and 1, as a container sees its own
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and ARM names in /proc/cpuinfo
SLOW_BF16 = (
    "this CPU has no bfloat16 instructions (avx512_bf16, amx_bf16): bfloat16 arithmetic is about 40 times slower here "
    "than float32; leave {setting} at its default"
)


def usable_cores() -> int:
    """CPU cores this process may run on."""
    return len(core_numbers())


def core_numbers() -> list[int]:
    """Numbers of the CPU cores this process may run on, in order."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]


def wanted_threads() -> int | None:
    """`OMP_NUM_THREADS`, where the user set it."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else None


def free_memory(groups: Path = _CONTROL_GROUPS) -> int:
    """Bytes of memory that this process may still take: what the machine has free, or its container lets it have."""
    free = [limit - used for limit, used in _containers(groups)]
    return max(0, min([int(psutil.virtual_memory().available), *free]))


def whole_memory(groups: Path = _CONTROL_GROUPS) -> int:
    """Bytes of memory of the machine, or of its container."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _containers(groups))])


def _containers(groups: Path) -> Iterator[tuple[int, int]]:
    """Limits of the containers around this process, and what is used of each, in bytes."""
    for limit, used in _CONTAINER_MEMORY:
        try:
            yield int((groups / limit).read_text()), int((groups / used).read_text())
        except (OSError, ValueError):  # another version of control groups, none, or "max": no limit
            continue


@cache
def computes_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions; without them it computes that type about 40 times slower."""
    return bool(_BF16_FLAGS & cpu_flags())


def trains_in_bfloat16(weights: float, flags: Collection[str] | None = None) -> bool:
    """Whether a CPU should train a model of so many bytes in bfloat16: where it has matrix units for it (AMX), whose
    products are more than twice as fast as in float32 (`spar_core.planning.devices`).

    Args:
        weights: bytes on the disk.
        flags: instruction sets of the CPU; None: of this one.
    """
    return weights >= LARGE_MODEL and "amx_bf16" in (cpu_flags() if flags is None else flags)


def cpu_flags(source: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Names of the CPU's instruction sets (Linux); empty where they are not told."""
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    told = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(told, "").split())
