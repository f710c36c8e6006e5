"""Where each vLLM server of a model goes: its GPUs or cores, its port, and the memory it must find there."""

import os
from pathlib import Path
from typing import NamedTuple

from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.placement import (
    ALONE,
    VISIBLE,
    Placement,
    gpu_is_present,
    place,
    share_cores,
    visible_gpus,
    weight_bytes,
)
from spar_core.ports import free_port
from spar_core.processors import core_numbers

_SMALLER_WEIGHTS = ("quantization", "offload", "load-format")  # arguments with which weights take less than their files


class Berth(NamedTuple):
    """A server's place: the GPUs or cores it computes on, and its port."""

    placement: Placement
    port: int


def berths(config: VllmEngineConfig, model: Path, opening: Opening) -> tuple[Berth, ...]:
    """One for each of a model's servers.

    Raises:
        EngineError: there are too few GPUs or cores, or the weights do not fit.
    """
    ports = set[int]()
    found = []
    for number, placement in enumerate(_placements(config, model, opening)):
        port = config.port + number if config.port else free_port()
        while port in ports:
            port = free_port()
        ports.add(port)
        found.append(Berth(placement, port))
    return tuple(found)


def _placements(config: VllmEngineConfig, model: Path, opening: Opening) -> tuple[Placement, ...]:
    environment = {**os.environ, **config.env}
    seat = opening.seat if config.own_gpus is None else ALONE
    seats, share, split = seat.seats, config.gpu_memory_utilization, config.tensor_parallel
    gpus = visible_gpus(environment) if gpu_is_present() else []
    if gpus and config.own_gpus is not None:
        gpus = list(config.own_gpus.of(gpus))
    if not gpus and gpu_is_present() and config.replicas_on(1) > 1:  # a driver whose tool tells nothing
        numbers = [range(first, first + split) for first in range(0, split * config.replicas_on(1), split)]
        return tuple(Placement(",".join(map(str, own)), share / seats) for own in numbers)
    if not gpus:
        return share_cores(core_numbers(), split=split, replicas=config.replicas_on(1), share=share / seats)
    smaller = any(word in argument for argument in config.extra_args for word in _SMALLER_WEIGHTS)
    fixed = VISIBLE in config.env
    return place(
        gpus,
        weights=0 if smaller else weight_bytes(model),
        split=split,
        replicas=config.replicas_on(len(gpus) if fixed else len(gpus) // seats),
        share=share,
        seat=seat,
        fixed=fixed,
        some=config.own_gpus is not None,
    )
