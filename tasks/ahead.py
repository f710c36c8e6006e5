"""Asking ahead: what the shards of the next stage will ask, while the last ones of a stage leave the servers idle.

The key of a stage follows from the content of its inputs, so that nothing of it can be made before these are whole. Its
answers can: they go into a journal of their own, which the stage is answered from when it comes. What is under way by
then is waited for. So keys, artifacts and records are those of one stage after the other, and whatever goes wrong ahead
is left to the stage itself.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prefect import State, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed

from spar_core.engines.base import Engine, Generation, GenerationRequest
from spar_core.engines.configuration import EngineConfig
from spar_core.engines.journaled import JournaledEngine, SharedAnswers
from spar_core.errors import EngineError, SparError
from storage.journal import ASKED_AHEAD, Journal
from storage.parts import PartWriter
from tasks.calls import StageCall
from tasks.pacing import Pace
from tasks.runtime import Runtime
from tasks.shards import ShardContext, ShardRows

Rows = Callable[[int], Mapping[str, Sequence[Any]]]
"""Of a finished shard of the stage before: the rows that follow from it, by the input that will hold them."""
_log = logging.getLogger(__name__)


class Ahead:
    """A stage that is asked ahead. It does nothing until a shard of the stage before is finished.

    Args:
        work: the stage's, on one shard.
        call: of the stage, without the inputs that are not whole yet.
        before: the call of the stage before it.
        rows: what follows from a finished shard of that.
    """

    def __init__(
        self, work: Callable[[ShardContext], ShardRows], call: StageCall, before: StageCall, rows: Rows
    ) -> None:
        stage, config = f"{call.stage}{ASKED_AHEAD}", {**call.config, "after": before.key}
        self.call = replace(call, stage=stage, config=config)
        """Its key is that of the journal; the stage has another, once it is known."""
        self._before = before
        self._same_models = all(model in asked(before) for model in asked(call))
        self._work = work
        self._rows = rows
        self._runtime = Runtime.of(call.home)
        self._finished: deque[int] = deque()
        self._going: set[PrefectFuture[Any]] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._journal: Journal | None = None
        self._answers: SharedAnswers | None = None
        self._key: str | None = None

    def follow(self, shard: int) -> None:
        """A shard of the stage before is finished."""
        self._finished.append(shard)

    def fill(self, pace: Pace, running: int, *, waiting: bool) -> None:
        """Begin on finished shards where there is room for them. Call it inside of a flow.

        Args:
            pace: that of the stage before.
            running: shards of that under way.
            waiting: it has others, which go first where both ask the same models.
        """
        if not self._same_models:
            room = Pace(pace.shards, self._runtime.engines.load(self.call.key)).more(len(self._going))
        else:
            room = 0 if waiting else pace.more(running + len(self._going))
        for _ in range(min(room, len(self._finished))):
            self._begin(self._finished.popleft())

    def hand_over(self, key: str) -> None:
        """The stage begins, under its own key: it is answered with what was asked ahead."""
        if self._answers is None and self._runtime.has_journal(self.call, 0):  # of a run that ended too early
            self._open()
        if self._answers is not None:
            self._key = key
            self._runtime.answered_ahead[key] = self._answers
            self._runtime.engines.count_together(key, self.call.key)

    def settle(self) -> None:
        """The stage is committed, so that its answers are not needed any more."""
        self._end(wait=True)
        self._runtime.discard_journals(self.call)

    def give_up(self, *, wait: bool, keep: bool) -> None:
        """A stage failed: nothing more is asked. `wait`: for what is under way. `keep`: what was answered."""
        began = self._answers is not None
        self._end(wait=wait)
        if began and keep:
            self._runtime.keep_journal(self.call, 0)
        elif not keep:
            self._runtime.discard_journals(self.call)

    def _begin(self, shard: int) -> None:
        if self._answers is None:
            self._open()
        future: PrefectFuture[Any] = self._task()(shard)
        with self._lock:
            self._going.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: PrefectFuture[Any]) -> None:
        with self._lock:
            self._going.discard(future)

    def _open(self) -> None:
        self._journal = self._runtime.journal(self.call, 0)
        self._answers = SharedAnswers(self._journal)
        self._runtime.asking_ahead.append(self)
        if self._same_models:
            self._runtime.engines.count_together(self.call.key, self._before.key)

    def _task(self) -> Callable[[int], PrefectFuture[Any]]:
        def ask_ahead(shard: int) -> State[None] | None:
            try:
                self._ask(shard)
            except SparError as error:
                _log.debug("%s: %s", self.call.title, error)
                return Completed(name="Left", message=f"left to the stage itself: {error}")
            return None

        return task(
            name=self.call.stage,
            task_run_name=f"{self.call.title}-shard-{{shard}}",
            cache_policy=NO_CACHE,
            persist_result=False,
        )(ask_ahead).submit

    def _ask(self, shard: int) -> None:
        assert self._answers is not None
        context = _AheadContext(
            self.call, shard, self._runtime, _Unkept(), given=self._rows(shard), answers=self._answers, over=self._over
        )
        with context.opened:
            self._work(context)

    def _end(self, *, wait: bool) -> None:
        self._over.set()
        with self._lock:
            going = tuple(self._going)
        for future in going if wait else ():
            future.wait()
        if self._answers is None:
            return
        self._runtime.answered_ahead.pop(self._key or "", None)
        self._runtime.engines.stage_ended(self.call.key)
        self._runtime.asking_ahead.remove(self)
        if self._journal is not None:
            self._journal.close()
        self._journal = self._answers = None


def asked(call: StageCall) -> list[tuple[EngineConfig, str]]:
    """The models that a call asks, by what serves them and their digests: equal ones are asked through one engine."""
    return [(call.engines[role], model.digest) for role, model in call.models.items()]


@dataclass(frozen=True, slots=True)
class _AheadContext(ShardContext):
    """What the work of a shard may touch ahead of its stage: it keeps nothing but answers."""

    given: Mapping[str, Sequence[Any]] = field(default_factory=dict, kw_only=True)
    answers: SharedAnswers = field(kw_only=True)
    over: threading.Event = field(kw_only=True)

    def read(self, name: str, table: str) -> Iterator[Any]:
        """The rows that follow from a shard of the stage before; of an input that is whole those of the same part."""
        if name in self.given:
            return iter(self.given[name])
        return ShardContext.read(self, name, table)  # type: ignore[no-any-return]

    def journaled(self, engine: Engine) -> Engine:
        """With the journal of all that is asked ahead."""
        return JournaledEngine(_Until(engine, self.over), self.answers)


class _Until:
    """Asks an engine until what is asked ahead is over."""

    def __init__(self, engine: Engine, over: threading.Event) -> None:
        self._engine = engine
        self._over = over

    @property
    def model_digest(self) -> str:
        return self._engine.model_digest

    async def generate(self, request: GenerationRequest) -> Generation:
        if self._over.is_set():
            raise EngineError("it is over")
        return await self._engine.generate(request)

    async def close(self) -> None:
        await self._engine.close()


class _Unkept(PartWriter):
    """Takes rows and keeps none."""

    def __init__(self) -> None:
        """Nothing is opened."""

    def write(self, table: str, records: Iterable[Any]) -> None:
        """Use the records up."""
        deque(records, maxlen=0)
