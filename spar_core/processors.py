"""What this machine's processors can do for us: how many cores are free, and in which number type they compute fast."""

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

_SAMPLE_S = 0.25
_BUSY = ("user", "nice", "system", "irq", "softirq")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and ARM names in /proc/cpuinfo
SLOW_BF16 = (
    "this CPU has no bfloat16 instructions (avx512_bf16, amx_bf16): bfloat16 arithmetic is about 40 times slower here "
    "than float32; leave {setting} at its default"
)


def usable_cores() -> int:
    """CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wanted_threads() -> int | None:
    """`OMP_NUM_THREADS`, where the user set it."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) > 0 else None


def free_cores() -> int:
    """CPU cores to compute with: `OMP_NUM_THREADS` if set, else those this process may use and no other uses now.

    A busy neighbour on one of the cores makes every parallel step wait for it (10 to 30 times slower than one
    thread). What this process and its children compute is no neighbour's. Takes a quarter of a second.
    """
    return wanted_threads() or unused(usable_cores(), busy_elsewhere())


def unused(cores: int, busy: float) -> int:
    """Cores left beside neighbours that keep `busy` cores occupied; half a core is not waited for."""
    return max(1, cores - round(busy))


def busy_elsewhere(sleep: Callable[[float], None] = time.sleep) -> float:
    """Cores that processes other than this one and its descendants keep busy, over a short sample."""
    family = _family()
    before, ours_before, started = _all_seconds(), [_seconds(process) for process in family], time.monotonic()
    sleep(_SAMPLE_S)
    ours = sum(max(0.0, _seconds(process) - then) for process, then in zip(family, ours_before, strict=True))
    return max(0.0, _all_seconds() - before - ours) / (time.monotonic() - started)


@cache
def computes_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions; without them it computes that type about 40 times slower."""
    return bool(_BF16_FLAGS & cpu_flags())


def cpu_flags(source: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Names of the CPU's instruction sets (Linux); empty where they are not told."""
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    told = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(told, "").split())


def _family() -> list[psutil.Process]:
    this = psutil.Process()
    return [this, *this.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _all_seconds() -> float:
    """Busy time so far of the cores this process may run on."""
    each = psutil.cpu_times(percpu=True)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(each))
    return sum(
        sum(value for name, value in each[core]._asdict().items() if name in _BUSY)
        for core in cores
        if core < len(each)
    )
