"""The one lease on the accelerator: engines opened when first asked, closed before training or another model."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from spar_core.config.scale import RayConfig
from spar_core.engines.base import Engine, Generation, GenerationRequest, Restartable
from spar_core.engines.configuration import EngineConfig, VllmEngineConfig
from spar_core.engines.factory import open_engine
from spar_core.engines.opening import Opening
from spar_core.engines.placement import ALONE, Seat
from spar_core.engines.role_servers import OwnGpus
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from storage.remote_artifacts import bring_model
from tasks.pacing import Load

_LOG = logging.getLogger(__name__)
MAX_RESTARTS = 3
"""How often the server of a model that died is started again within one stage."""
_LOOK_S = 0.1  # how often those who wait for another's start look whether the pool was ended
_CLOSED_WITHIN_S = 30.0  # more than a server takes to end, be it politely or not
_INTERRUPTED = "interrupted; run the same command again to resume"


class ModelRef(NamedTuple):
    """A model or file by content: `digest` identifies it, `location` (folder, file, served name) only finds it."""

    digest: str
    location: str


@dataclass(slots=True, eq=False)
class _Loaded:
    """An open engine, the configuration it was opened with, and its place among its neighbours."""

    config: EngineConfig
    model: ModelRef
    seat: Seat
    engine: Engine


class EnginePool:
    """Keeps at most `capacity` models loaded; asking for another closes the one unused the longest.

    Thread-safe. Engines are opened at their first request, so a stage answered from the journal loads nothing; one
    after another, and outside of the lock, so that an interruption waits for no start. An engine whose server died is
    opened again for all who ask it.

    Args:
        capacity: models loaded at once, where no stage keeps more.
        logs: folder for the logs of servers.
        records: folder that notes running servers, for whoever finds them orphaned.
    """

    def __init__(self, capacity: int = 1, logs: Path | None = None, records: Path | None = None) -> None:
        self._capacity = capacity
        self._together: dict[str, int] = {}
        self._logs = logs
        self._records = records
        self.cluster: RayConfig | None = None
        """The Ray cluster on which servers are started; None: on this machine."""
        self._changed = threading.Condition()
        self._opening = False
        self._closing = 0
        self._open: list[_Loaded] = []
        self._restarts: Counter[tuple[str, str]] = Counter()
        self._loads: dict[str, Load] = {}
        self._dead: WeakSet[Engine] = WeakSet()
        self._ended = threading.Event()

    def engine(self, config: EngineConfig, model: ModelRef, stage: str = "") -> Engine:
        """A lazy engine for `model`; many callers share the one behind it. Restarts are counted by `stage`."""
        return _LazyEngine(self, config, model, stage, self._ended)

    def load(self, stage: str) -> Load:
        """What a stage asks at this moment, and what its engines bear."""
        with self._changed:
            return self._loads.setdefault(stage, Load())

    def count_together(self, stage: str, other: str) -> None:
        """Count what a stage asks with what another asks of the same engines."""
        with self._changed:
            self._loads[stage] = self._loads.setdefault(other, Load())

    def keep(self, wanted: Iterable[tuple[EngineConfig, ModelRef]], stage: str) -> None:
        """Keep these models loaded, side by side, until the end of a stage that asks them by turns."""
        apart: list[tuple[EngineConfig, str]] = []
        for config, model in wanted:
            if holds_memory(config) and (config, model.digest) not in apart:
                apart.append((config, model.digest))
        self.keep_seats(len(apart), stage)

    def keep_seats(self, count: int, stage: str) -> None:
        """Keep so many models loaded side by side, whichever they are, until the end of a stage."""
        with self._changed:
            self._together[stage] = max(count, self._together.get(stage, 1))

    def stage_ended(self, stage: str) -> None:
        """Forget what was counted and kept for a stage."""
        with self._changed:
            self._together.pop(stage, None)
            self._loads.pop(stage, None)
            for key in [key for key in self._restarts if key[0] == stage]:
                del self._restarts[key]

    def close_all(self) -> None:
        """Free every model's memory: called before training and at the end of a run."""
        with self._changed:
            leaving, self._open = self._open, []
            self._closing += 1
        self._close(leaving)

    def end(self) -> None:
        """Close every model; whoever asks from now on, or is waiting, fails. `renew` makes the pool usable again.

        Waits for what an interruption is closing, too: a thread of its own, which would not outlive the process.
        """
        self._ended.set()
        self.close_all()
        with self._changed:
            self._changed.wait_for(lambda: not self._closing, _CLOSED_WITHIN_S)

    def renew(self) -> None:
        """Open engines again for those who ask from now on; those from before the end stay refused."""
        with self._changed:
            if self._ended.is_set():
                self._ended = threading.Event()

    def interrupt(self) -> None:
        """Fail what is unanswered and open nothing more, so that shards end at once. Waits for nothing."""
        self._ended.set()  # a server that is starting sees it and is killed
        threading.Thread(target=self.close_all, daemon=True).start()

    def opened(self, config: EngineConfig, model: ModelRef, ended: threading.Event) -> Engine:
        """The running engine of `model`, started now if need be. `ended` is the asker's hold on the pool.

        Raises:
            EngineError: the pool was ended or interrupted, or the engine cannot be opened.
        """
        while True:
            with self._changed:
                if ended.is_set():
                    raise EngineError(_INTERRUPTED)
                capacity = max(self._capacity, *self._together.values(), 1)
                found = self._find(config, model, capacity)
                if found is not None:
                    self._open.append(self._open.pop(self._open.index(found)))
                    return found.engine
                if self._opening or self._closing:
                    self._changed.wait(_LOOK_S)
                    continue
                seat, leaving = self._take_seat(config, capacity)
                self._opening = True
                self._closing += 1
            try:
                self._close(leaving)
                self._add(_Loaded(config, model, seat, self._start(config, model, seat, ended)), ended)
            finally:
                with self._changed:
                    self._opening = False
                    self._changed.notify_all()

    def replaced(self, dead: Engine, stage: str, error: EngineUnavailableError) -> None:
        """Drop an engine whose server died, so that the next to ask starts it again; once for all who notice.

        What is left of the server is ended before: it may hold its port and the GPU's memory.

        Raises:
            EngineUnavailableError: it died too often in this stage; `error` says how its log ends.
        """
        with self._changed:
            loaded = next((loaded for loaded in self._open if loaded.engine is dead), None)
            if loaded is None:
                return  # somebody else noticed before
            key = (stage, loaded.model.digest)
            if self._restarts[key] >= MAX_RESTARTS:
                raise EngineUnavailableError(
                    f"{error}\n(restarted {MAX_RESTARTS} times in this stage already; finished work is kept)"
                ) from error
            self._restarts[key] += 1
            self._open.remove(loaded)
            self._dead.add(dead)
            self._closing += 1
            count = self._restarts[key]
        _LOG.warning("%s\nIt is started again (%d of at most %d times in this stage)", error, count, MAX_RESTARTS)
        self._close([loaded])

    def was_dropped(self, engine: Engine) -> bool:
        """Whether an engine was given up because its server died: what fails at it now is to be asked again."""
        with self._changed:
            return engine in self._dead

    def _find(self, config: EngineConfig, model: ModelRef, capacity: int) -> _Loaded | None:
        """The open engine of this model with these settings, if it was given the place that it would get now."""
        count = capacity if holds_memory(config) and own_gpus(config) is None else 1
        for loaded in self._open:
            if loaded.model.digest == model.digest and loaded.config == config and loaded.seat.seats == count:
                return loaded
        return None

    def _take_seat(self, config: EngineConfig, capacity: int) -> tuple[Seat, list[_Loaded]]:
        """A place for another engine, and the engines that have to go for it.

        Those go that hold more, or less, than their part by now, and the ones unused the longest; where roles have GPUs
        to themselves, those that are not on the other's.
        """
        if not holds_memory(config):
            return ALONE, []
        holders = [loaded for loaded in self._open if holds_memory(loaded.config)]
        own = own_gpus(config)
        if own is not None:
            leaving = [loaded for loaded in holders if own_gpus(loaded.config) in (own, None)]
            self._open = [loaded for loaded in self._open if loaded not in leaving]
            return ALONE, leaving
        staying = [each for each in holders if each.seat.seats == capacity and own_gpus(each.config) is None]
        staying = staying[max(0, len(staying) - capacity + 1) :]
        leaving = [loaded for loaded in holders if loaded not in staying]
        self._open = [loaded for loaded in self._open if loaded not in leaving]
        taken = {loaded.seat.number for loaded in staying}
        return Seat(next(number for number in range(capacity) if number not in taken), capacity), leaving

    def _start(self, config: EngineConfig, model: ModelRef, seat: Seat, ended: threading.Event) -> Engine:
        if not holds_memory(config):
            return asyncio.run(open_engine(config))
        bring_model(Path(model.location))
        opening = Opening(model.digest, seat, self._logs, self._records, ended, cluster=self.cluster)
        return asyncio.run(open_engine(config, model.location, opening))

    def _close(self, leaving: Sequence[_Loaded]) -> None:
        """Close engines, all of them even if one fails; nothing is opened while `_closing` counts this call."""
        try:
            with ExitStack() as each:
                for loaded in leaving:
                    each.callback(_close, loaded.engine)
        finally:
            with self._changed:
                self._closing -= 1
                self._changed.notify_all()

    def _add(self, loaded: _Loaded, ended: threading.Event) -> None:
        with self._changed:
            if not ended.is_set():
                self._open.append(loaded)
                return
        _close(loaded.engine)  # it came too late
        raise EngineError(_INTERRUPTED)


def holds_memory(config: EngineConfig) -> bool:
    """Whether an engine of this kind loads a model here; the others talk to servers that somebody else runs."""
    return config.kind in ("transformers", "vllm")


def own_gpus(config: EngineConfig) -> OwnGpus | None:
    """The GPUs that the role has to itself whose engine this is."""
    return config.own_gpus if isinstance(config, VllmEngineConfig) else None


def _close(engine: Engine) -> None:
    asyncio.run(engine.close())


class _LazyEngine:
    """An `Engine` that starts its model at the first request, and again when its server died; for one event loop."""

    def __init__(
        self, pool: EnginePool, config: EngineConfig, model: ModelRef, stage: str, ended: threading.Event
    ) -> None:
        self._pool = pool
        self._config = config
        self._model = model
        self._stage = stage
        self._load = pool.load(stage)
        self._ended = ended
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()

    @property
    def model_digest(self) -> str:
        return self._model.digest

    async def generate(self, request: GenerationRequest) -> Generation:
        while True:
            engine = await self._running()
            try:
                with self._load.asking(engine):
                    return await engine.generate(request)
            except RequestRejectedError:
                raise
            except EngineError as error:
                if self._ended.is_set():
                    raise
                if not self._pool.was_dropped(engine):
                    await self._give_up(engine, error)
                elif self._engine is engine:  # dropped by another shard
                    self._engine = None

    async def close(self) -> None:
        """The pool owns the engine: nothing to close here."""

    async def _running(self) -> Engine:
        async with self._opening:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._pool.opened, self._config, self._model, self._ended)
            return self._engine

    async def _give_up(self, engine: Engine, error: EngineError) -> None:
        """Have a dead engine replaced; the requests under way at it are asked again.

        Raises:
            EngineError: `error`, where it says nothing of a server, or the server is well, or cannot be restarted.
        """
        if not isinstance(error, EngineUnavailableError) or not isinstance(engine, Restartable):
            raise error
        async with self._opening:
            if self._engine is not engine:
                return  # another request noticed before
            if await engine.is_healthy():
                raise error
            await asyncio.to_thread(self._pool.replaced, engine, self._stage, error)
            self._engine = None
