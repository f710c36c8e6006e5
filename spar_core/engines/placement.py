"""Where a model server goes: which GPUs, and how much of their memory, so that all that are loaded at once fit."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from spar_core.errors import EngineError

_GIB = 2**30
_MIB = 2**20
_LEAST_CACHE_SHARE = 0.05  # of a server's memory, for keys, values and the workings of a forward pass
_FREED_WITHIN_S = 15.0  # a server that has just ended gives its memory back with a delay
_POLL_S = 0.5
_TOOL_S = 30.0
VISIBLE = "CUDA_VISIBLE_DEVICES"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"


class GpuProcess(NamedTuple):
    """A process that holds memory of a GPU, in bytes."""

    pid: int
    name: str
    used: int


class Gpu(NamedTuple):
    """One GPU as the driver's tool tells it; bytes."""

    number: int
    uuid: str
    total: int
    free: int
    processes: tuple[GpuProcess, ...] = ()


class Seat(NamedTuple):
    """A model's place among those that are loaded at the same time: number `number` of `seats`, from 0."""

    number: int = 0
    seats: int = 1


ALONE = Seat()


class Placement(NamedTuple):
    """Where a server goes: the value of CUDA_VISIBLE_DEVICES (None: as it is), its share of each GPU's memory; on a CPU
    its cores, such as "0,1", those of its processes parted by "|" (None: as the server likes)."""

    devices: str | None
    share: float
    cores: str | None = None


def place(
    gpus: Sequence[Gpu],
    *,
    weights: int,
    split: int = 1,
    replicas: int = 1,
    share: float = 0.9,
    seat: Seat = ALONE,
    fixed: bool = False,
    some: bool = False,
) -> tuple[Placement, ...]:
    """Give each server of a model its GPUs, and of their memory its part.

    Models that are loaded together get GPUs of their own while there are enough; else those on one GPU share its
    memory evenly.

    Args:
        gpus: those that may be used, in order.
        weights: bytes of the model's weights.
        split: GPUs the model is split over.
        replicas: servers of the model, each on GPUs of its own.
        share: of a GPU's memory that all servers on it may take together.
        seat: this model among those loaded at the same time.
        fixed: the user chose the GPUs for this model: it stays on the first of them.
        some: these are not all that are visible, so that they have to be named.

    Raises:
        EngineError: there are too few GPUs, or the weights do not fit into the share.
    """
    width = split * replicas
    if width > len(gpus):
        asked = f"engine.tensor_parallel is {split}" + (f" and engine.replicas {replicas}" if replicas > 1 else "")
        raise EngineError(f"{asked}, but only {len(gpus)} GPUs can be used here: lower it, or widen {VISIBLE}")
    groups = 1 if fixed else min(len(gpus) // width, seat.seats)
    group = seat.number % groups
    together = len(range(group, seat.seats, groups))
    first = group * (len(gpus) // groups)  # not those of another that needs more of them
    chosen = gpus[first : first + width]
    # Rounded down: shares of a third must not add up to more than the whole.
    own = share if together == 1 else int(share / together * 1000) / 1000
    for gpu in chosen:
        _check_fits(gpu, weights / split, own, together)
    if groups == replicas == 1 and not some:
        return (Placement(None, own),)
    numbers = [str(gpu.number) for gpu in chosen]
    return tuple(Placement(",".join(numbers[first : first + split]), own) for first in range(0, width, split))


def share_cores(cores: Sequence[int], *, split: int, replicas: int, share: float) -> tuple[Placement, ...]:
    """Give each of several CPU servers neighbouring cores of its own; as they come where there is one server.

    Args:
        cores: that may be used.
        split: processes of each server, which get cores of their own, too.
        replicas: servers of the model.
        share: as in `place`; CPU servers ignore it.

    Raises:
        EngineError: there are too few cores.
    """
    if replicas == 1:
        return (Placement(None, share),)
    width = split * replicas
    if width > len(cores):
        raise EngineError(
            f"engine.replicas is {replicas} and engine.tensor_parallel {split}, but this process may use "
            f"{len(cores)} cores only: lower them"
        )
    bounds = [len(cores) * number // width for number in range(width + 1)]
    parts = [",".join(map(str, cores[first:last])) for first, last in pairwise(bounds)]
    return tuple(Placement(None, share, "|".join(parts[first : first + split])) for first in range(0, width, split))


def _check_fits(gpu: Gpu, weights: float, share: float, together: int) -> None:
    allowed = share * gpu.total
    if weights <= allowed * (1 - _LEAST_CACHE_SHARE):
        return
    how = f"{together} models share it" if together > 1 else "the model has it to itself"
    raise EngineError(
        f"the weights take {weights / _GIB:.1f} GiB of GPU {gpu.number}, but a server may take {allowed / _GIB:.1f} "
        f"of its {gpu.total / _GIB:.1f} GiB (engine.gpu_memory_utilization; {how}): use a smaller model, more GPUs "
        "(engine.tensor_parallel), or fewer models at once (judging.second_voter; one model as actor and refiner)"
    )


def check_free(gpus: Sequence[Gpu], share: float) -> None:
    """Refuse a server that would find less free memory than its share.

    Raises:
        EngineError: names the GPU and the processes that hold its memory.
    """
    for gpu in gpus:
        wanted = share * gpu.total
        if gpu.free >= wanted:
            continue
        holders = ", ".join(f"process {p.pid} ({p.name}, {p.used / _GIB:.1f} GiB)" for p in gpu.processes)
        holders = holders or "processes that the driver does not name"
        raise EngineError(
            f"GPU {gpu.number} has {gpu.free / _GIB:.1f} of {gpu.total / _GIB:.1f} GiB free, and a server wants "
            f"{wanted / _GIB:.1f}: end what holds the rest ({holders}), lower engine.gpu_memory_utilization, or use "
            f"fewer GPUs ({VISIBLE}, engine.replicas)"
        )


def await_free(placement: Placement, look: Callable[[], Sequence[Gpu]], patience_s: float = _FREED_WITHIN_S) -> None:
    """`check_free` on the GPUs of a placement, with patience for what a server that just ended still holds.

    Raises:
        EngineError: the memory does not become free.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return check_free(look(), placement.share)
        except EngineError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_S)


def gpu_is_present() -> bool:
    """Whether this machine has the device files of an NVIDIA or AMD driver."""
    return any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd"))


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs that a process with this environment sees, in its order; none without NVIDIA's driver and tool."""
    return selected(_ask_driver(), environment.get(VISIBLE))


def selected(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names, by index or by (the beginning of) their UUID; all where it is not set."""
    if visible is None:
        return list(gpus)
    found = []
    for name in (part.strip() for part in visible.split(",")):
        match = [
            gpu for gpu in gpus if name == str(gpu.number) or (name.startswith("GPU-") and gpu.uuid.startswith(name))
        ]
        if not match:
            break  # as CUDA does: the first name that is none ends the list
        found += match[:1]
    return found


def weight_bytes(folder: Path) -> int:
    """Bytes of a model folder's weights; where they lie there in several forms, of the one that is read."""
    files = {file.name: file.stat().st_size for file in folder.glob("*.safetensors")}
    if WEIGHTS_FILE in files:
        return files[WEIGHTS_FILE]
    try:
        read = set(json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        read = set(files)
    return sum(size for name, size in files.items() if name in read)


def _ask_driver() -> list[Gpu]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = _rows(tool, "--query-gpu=index,uuid,memory.total,memory.free")
    holders = _rows(tool, "--query-compute-apps=gpu_uuid,pid,used_memory,process_name")
    return gpus_from(listed, holders)


def gpus_from(listed: Sequence[Sequence[str]], holders: Sequence[Sequence[str]]) -> list[Gpu]:
    """GPUs and who holds their memory, from the tool's rows; rows it could not fill ("[N/A]") count as unknown."""
    processes: dict[str, list[GpuProcess]] = {}
    for uuid, pid, used, *name in (row for row in holders if len(row) >= 4 and row[1].isdigit()):
        taken = int(used) * _MIB if used.isdigit() else 0
        processes.setdefault(uuid, []).append(GpuProcess(int(pid), ",".join(name), taken))
    return [
        Gpu(int(index), uuid, int(total) * _MIB, int(free) * _MIB, tuple(processes.get(uuid, ())))
        for index, uuid, total, free in (row for row in listed if len(row) == 4)
        if total.isdigit() and free.isdigit()
    ]


def _rows(tool: str, query: str) -> list[list[str]]:
    try:
        answer = subprocess.run(
            [tool, query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=_TOOL_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
