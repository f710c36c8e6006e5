"""What would make a training or a server fit that does not: tried one after the other, told as settings."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from spar_core.planning.devices import GIB
from spar_core.planning.hardware import NODE_GPUS, Hardware
from spar_core.planning.shapes import ModelShape
from spar_core.planning.training_memory import TrainingLoad, TrainingMemory, training_memory

_MOST_GPUS = 128
_ADAPTER_RANK = 16
_SHOWN = 4
_CHECKPOINTING: Final = "training.{name}.gradient_checkpointing=true"
_SMALLER: Final = "training.{name}.micro_batch_size=1"
_SHARDED: Final = "training.launch.sharding=full"


class Remedy(NamedTuple):
    """Settings under which a training fits on `gpus` GPUs, and what it then needs."""

    settings: tuple[str, ...]
    gpus: int
    memory: TrainingMemory

    def shown(self) -> str:
        """`32 GPUs (4 x 8): 45.2 GiB of each`."""
        size = f"{self.memory.total / GIB:.1f} GiB per GPU"
        where = f"{self.gpus} GPUs" + (f" ({self.gpus // NODE_GPUS} machines)" if self.gpus > NODE_GPUS else "")
        host = f" and {self.memory.host / GIB:,.0f} GiB of CPU memory" if self._offloads else ""
        settings = ", ".join(self.settings)
        return f"{settings + ': ' if settings else ''}{size}{host} on {where}"

    @property
    def _offloads(self) -> bool:
        return any("offload" in setting for setting in self.settings)


class _Attempt(NamedTuple):
    settings: tuple[str, ...]
    load: TrainingLoad
    gpus: int


def training_remedies(
    shape: ModelShape, load: TrainingLoad, hardware: Hardware, name: str, *, least: int
) -> list[Remedy]:
    """The first few changes that fit, mildest first.

    Args:
        shape: the model.
        load: the training that does not fit.
        hardware: where it should.
        name: of the training in the configuration, such as `actor`.
        least: sequences of one micro batch of one row.
    """
    found: list[Remedy] = []
    for attempt in _attempts(load, hardware.number):
        for eased in _eased(attempt, least):
            memory = training_memory(shape, eased.load, eased.gpus)
            if memory.total <= hardware.device.memory:
                found.append(Remedy(tuple(text.format(name=name) for text in eased.settings), eased.gpus, memory))
                break
    more = [remedy for remedy in found if remedy.gpus > hardware.number]
    return [remedy for remedy in found if remedy not in more[1:]][:_SHOWN]


def _attempts(load: TrainingLoad, gpus: int) -> Iterator[_Attempt]:
    yield _Attempt((), load, gpus)
    if not load.sharded and gpus > 1 and load.base_bits > 4:
        yield _Attempt((_SHARDED,), load._replace(sharded=True), gpus)
    if not load.sharded and not load.lora_rank and load.optimizer == "adamw":
        yield _Attempt(("training.{name}.optimizer=adamw_8bit",), load._replace(optimizer="adamw_8bit"), gpus)
        paged = "paged_adamw_8bit"
        yield _Attempt((f"training.{{name}}.optimizer={paged}",), load._replace(optimizer=paged), gpus)
    if not load.lora_rank:
        rank = f"training.{{name}}.lora.rank={_ADAPTER_RANK}"
        adapters = load._replace(lora_rank=_ADAPTER_RANK, optimizer="adamw")
        yield _Attempt((rank,), adapters, gpus)
        alone = adapters._replace(base_bits=4, sharded=False, offload=False)
        yield _Attempt((rank, "training.{name}.lora.base_bits=4", "training.launch.sharding=none"), alone, gpus)
    elif load.base_bits > 4 and not load.sharded:
        yield _Attempt(("training.{name}.lora.base_bits=4",), load._replace(base_bits=4), gpus)
    if not load.offload and load.base_bits > 4:
        offload = "training.launch.offload=true"
        settings = (offload,) if load.sharded else (_SHARDED, offload)
        yield _Attempt(settings, load._replace(sharded=True, offload=True, optimizer="adamw"), gpus)
    if load.base_bits > 4:
        more = gpus * 2
        while more <= _MOST_GPUS:
            yield _Attempt(() if load.sharded else (_SHARDED,), load._replace(sharded=True), more)
            more *= 2


def _eased(attempt: _Attempt, least: int) -> Iterator[_Attempt]:
    """The attempt as it is, then with less to keep of each batch."""
    yield attempt
    settings, load, gpus = attempt
    changes: list[tuple[str, Callable[[TrainingLoad], TrainingLoad]]] = []
    if load.attention == "eager":
        changes.append(("training.{name}.attention=sdpa", lambda one: one._replace(attention="sdpa")))
    if not load.checkpointing:
        changes.append((_CHECKPOINTING, lambda one: one._replace(checkpointing=True)))
    if load.sequences > least:
        changes.append((_SMALLER, lambda one: one._replace(sequences=least)))
    for setting, change in changes:
        yield _Attempt((*settings, setting), change(load), gpus)
    if len(changes) > 1:
        for setting, change in changes:
            settings, load = (*settings, setting), change(load)
        yield _Attempt(settings, load, gpus)


def splits_that_fit(fits: Callable[[int], bool], most: int) -> int | None:
    """The smallest power of two up to `most` over which a model fits when it is split."""
    split = 1
    while split <= most:
        if fits(split):
            return split
        split *= 2
    return None
