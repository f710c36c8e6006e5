"""How every stage runs: shards as Prefect tasks, then one task that commits the artifact.

The store alone decides what is done: a part or an artifact that is whole and about the same rows is not made again,
and Prefect shows its task as "Cached". Nothing is kept in a cache of Prefect's own.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from queue import Empty, Queue
from typing import Any, NamedTuple

from prefect import State, Task, task
from prefect.assets import materialize
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed

from spar_core.errors import (
    BudgetError,
    ConfigError,
    DataError,
    FruitlessError,
    NothingAnsweredError,
    SparError,
    StorageError,
)
from storage.artifacts import ArtifactRef, Provenance
from tasks.ahead import Ahead
from tasks.bookkeeping import LedgerEntry
from tasks.calls import StageCall
from tasks.pacing import LOOK_S, Pace
from tasks.progress import StageProgress
from tasks.runners import ShardRunner, working_away
from tasks.runtime import Runtime
from tasks.shards import ShardContext, ShardRows
from tasks.sources import data_digest
from tasks.stage_page import asset_made, assets_read, show_stage
from tasks.versions import library_versions

_log = logging.getLogger(__name__)


_REFUSED = "refused."  # metrics of a part: requests refused, by reason
_UNASKED = "rows_unasked"
Work = Callable[[ShardContext], ShardRows]


class Tokens(NamedTuple):
    """What the models of a shard read and wrote in this try of it."""

    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its name, the version of its code, and the work on one shard.

    Raise the version when results change; tests/contracts holds that a change of the code is not overlooked.
    """

    name: str
    version: int
    work: Work
    sharded_by: str | None = None
    """The input whose parts are its shards; null: one shard does it all."""
    splits: bool = False
    """The one shard writes further parts itself (see `tasks.shards`)."""
    rows_of: tuple[str, str] | None = None
    """The input and its table whose rows come in; null: the stage draws, reads a file or chooses its rows itself."""
    data: tuple[str, ...] = ()
    """The package data it reads, digested into its key: `package/path` or `package.module`."""
    stays: bool = False
    """Its shards are computed in the process of the run whatever the task runner: it starts programs of its own, or the
    number of cores it has shows in its results."""

    def cuts(self, inputs: Mapping[str, ArtifactRef]) -> tuple[str | None, ...]:
        """Per shard, which rows it is about; null where that is all of them."""
        if self.sharded_by is None:
            return (None,)
        return tuple(part.cut for part in inputs[self.sharded_by].manifest().parts)

    def named(self, place: str) -> "Stage":
        """The same stage under a name of its own: an iteration of a run holds a stage of one name once."""
        return replace(self, name=f"{self.name}-{place}") if place else self

    def data_digest(self) -> str:
        """Of its package data as they are now."""
        return data_digest(self.data) if self.data else ""

    def finished(self, call: StageCall) -> ArtifactRef | None:
        """The finished artifact of a call; none where its parts are about other rows than the input's are now."""
        found = Runtime.of(call.home).store.get(call.stage, call.key)
        if found is None or self.sharded_by is None:
            return found
        if tuple(part.cut for part in found.manifest().parts) == self.cuts(call.inputs):
            return found
        _log.warning("stage %s: its input was made again and cut otherwise; it is made again, too", call.stage)
        return None

    def run(self, call: StageCall, *, then: Ahead | None = None, ahead: Ahead | None = None) -> ArtifactRef:
        """Run or reuse the stage inside a flow and enter it in the ledger.

        Args:
            call: what to run.
            then: the stage after it, which is asked ahead.
            ahead: how this stage was asked ahead.

        Raises:
            SparError: a shard failed after its retries; finished shards and completions are kept.
        """
        runtime = Runtime.of(call.home)
        place = (call.run_id, call.iteration, call.key)
        artifact = self.finished(call)
        if artifact is not None and place in runtime.finished:
            return runtime.finished[place]  # asked for a second time in this run: entered once
        entry, cached, cuts = LedgerEntry(runtime.ledger, call), artifact is not None, self.cuts(call.inputs)
        progress = StageProgress(call, len(cuts), runtime.reporter)
        try:
            if artifact is None:
                runtime.spending(call.run_id).check(call.surroundings.budget)
                runtime.store.discard_damaged_model(call.stage, call.key)
                if self.sharded_by is not None:
                    runtime.store.discard_parts_from(call.stage, call.key, len(cuts))
                if ahead is not None:
                    ahead.hand_over(call.key)
                self._run_shards(call, len(cuts), progress, then)
            self._commit_task(call)(call)
            if ahead is not None:
                ahead.settle()
            if artifact is None:
                artifact = runtime.store.require(call.stage, call.key)
        except BaseException as error:
            runtime.give_up_ahead(error)
            entry.failed(error)
            progress.failed(error)
            raise
        finally:
            runtime.engines.stage_ended(call.key)
        runtime.finished[place] = artifact
        seconds = entry.completed(artifact, cached=cached)
        progress.finished(artifact, cached=cached, seconds=seconds)
        return artifact

    def compute(self, call: StageCall) -> ArtifactRef:
        """Run or reuse the stage here and now, shard after shard: without Prefect, and without a line in the ledger."""
        for shard in range(len(self.cuts(call.inputs))):
            self._work(call, shard)
        self._commit(call)
        return Runtime.of(call.home).store.require(call.stage, call.key)

    def _run_shards(self, call: StageCall, parts: int, progress: StageProgress, then: Ahead | None) -> None:
        runner, waiting = ShardRunner(call, stays=self.stays), deque(range(parts))
        shard_task = self._shard_task(call, away=runner.away)
        runtime = Runtime.of(call.home)
        pace = Pace(runner.at_once, runtime.engines.load(call.key))
        ended: Queue[PrefectFuture[Any]] = Queue()
        going: dict[PrefectFuture[Any], int] = {}
        failure: BaseException | None = None

        def begin(count: int) -> None:
            for _ in range(min(count, len(waiting))):
                shard = waiting.popleft()
                future = runner.submit(shard_task, shard)
                going[future] = shard
                future.add_done_callback(ended.put)

        begin(pace.first())
        try:
            while going:
                with suppress(Empty):
                    future = ended.get(timeout=LOOK_S)
                    shard = going.pop(future)
                    try:
                        used = runner.result(future)
                        if runner.away and used is not None:
                            runtime.spending(call.run_id).counted(*used)
                        progress.advanced()
                        if then is not None:
                            then.follow(shard)
                    except (SparError, Exception) as error:  # noqa: BLE001 - those under way finish first
                        failure = failure or error
                if failure is None:
                    begin(pace.more(len(going)))
                    if then is not None and going:
                        then.fill(pace, len(going), waiting=bool(waiting))
        finally:
            runner.cancel(tuple(going))
        if failure is not None:
            raise failure

    def _shard_task(self, call: StageCall, *, away: bool) -> Task[[StageCall, int], State[None] | Tokens | None]:
        def shard_of_stage(call: StageCall, shard: int) -> State[None] | Tokens | None:
            with working_away(call) if away else nullcontext():
                used = self._work(call, shard)
            return _reused() if used is None else used

        def worth_retrying(_task: Any, _task_run: Any, state: Any) -> bool:
            return not Runtime.of(call.home).interrupted.is_set() and _may_pass(state)

        shard_of_stage.__name__ = f"{self.name}_shard"
        return task(
            name=self.name,
            task_run_name=f"{call.title}-shard-{{shard}}",
            retries=call.surroundings.orchestration.shard_retries,
            retry_delay_seconds=1,
            retry_condition_fn=worth_retrying,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(shard_of_stage)

    def _commit_task(self, call: StageCall) -> Task[[StageCall], State[None] | None]:
        home = Runtime.of(call.home).home

        def commit_stage(call: StageCall) -> State[None] | None:
            committed = self._commit(call)
            show_stage(home, call, Runtime.of(call.home).store.require(call.stage, call.key))
            return None if committed else _reused()

        commit_stage.__name__ = f"{self.name}_commit"
        return materialize(
            asset_made(home, call),
            by="spar",
            asset_deps=assets_read(home, call),
            name=f"{self.name} commit",
            task_run_name=call.title,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(commit_stage)

    def _work(self, call: StageCall, shard: int) -> Tokens | None:
        """The tokens that it took; None where there was nothing to do."""
        runtime, cuts = Runtime.of(call.home), self.cuts(call.inputs)
        store, cut = runtime.store, cuts[shard]
        if (
            store.has_split(call.stage, call.key)
            if self.splits
            else store.has_part(call.stage, call.key, shard, cut=cut)
        ):
            return None
        with store.part(call.stage, call.key, shard, cut=cut) as part:
            context = ShardContext(call, shard, runtime, part, cut=cut if len(cuts) > 1 else None)
            with context.opened, runtime.journal_kept(call, shard):
                rows = self.work(context)
            self._check_rows(call, shard, rows)
            part.account(rows_in=rows.rows_in, rows_out=rows.rows_out)
            used, refusals = context.meter.stats, context.meter.refusals
            if used.requests or refusals:
                tokens = {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
                refused = {f"{_REFUSED}{reason}": count for reason, count in refusals.items()}
                unasked = {_UNASKED: rows.unasked} if rows.unasked else {}
                part.measure({"requests": used.requests, **tokens, **refused, **unasked})
        cost = f", {used.prompt_tokens + used.completion_tokens:,} tokens" if used.requests else ""
        _log.info("shard %d of %d: %d rows in, %d out%s", shard + 1, len(cuts), rows.rows_in, rows.rows_out, cost)
        return Tokens(used.prompt_tokens, used.completion_tokens)

    def _check_rows(self, call: StageCall, shard: int, rows: ShardRows) -> None:
        if self.rows_of is None:
            return
        name, table = self.rows_of
        source = call.inputs[name]
        there = source.rows_in_part(table, shard) if self.sharded_by is not None else source.rows.get(table, 0)
        if rows.rows_in != there:
            raise StorageError(
                f"stage {call.stage!r}, shard {shard}: {rows.rows_in} rows were worked on, but its input "
                f"{name!r} holds {there} of {table!r}; this is a defect of the stage, the shard was not kept"
            )

    def _commit(self, call: StageCall) -> bool:
        """Whether there was anything to commit."""
        runtime = Runtime.of(call.home)
        committed = self.finished(call) is None
        if committed:
            self._refuse_emptiness(runtime, call)
            parts = None if self.splits else len(self.cuts(call.inputs))
            runtime.store.commit(call.stage, call.key, parts=parts, provenance=provenance(self, call))
        runtime.discard_journals(call)
        return committed

    def _refuse_emptiness(self, runtime: Runtime, call: StageCall) -> None:
        """A stage of which the engine refused every request has no result; its parts are forgotten, not committed.

        So are the refusals in its journals: the next run asks anew, of a server that was set up otherwise meanwhile.
        """
        metrics = runtime.store.metrics_so_far(call.stage, call.key)
        refused = {name.removeprefix(_REFUSED): int(n) for name, n in metrics.items() if name.startswith(_REFUSED)}
        if not refused or metrics.get("requests") or metrics.get(_UNASKED):
            return
        runtime.store.discard_parts_from(call.stage, call.key, 0)
        runtime.discard_journals(call)
        causes = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
        raise NothingAnsweredError(
            f"stage {self.name}: the engine refused every request ({causes}), so there is nothing to keep. "
            "Check the server's settings and the configured limits (max_tokens, max_model_len), then run again"
        )


def provenance(stage: Stage, call: StageCall) -> Provenance:
    """What the manifest says of a call."""
    return Provenance(
        inputs=tuple(call.inputs.values()),
        model_digests={role: model.digest for role, model in call.models.items()},
        file_digests={name: file.digest for name, file in call.files.items()},
        engines=call.engine_identities(),
        data_digest=call.data_digest,
        libraries=library_versions(),
        config=dict(call.config),
        code_version=str(stage.version),
    )


def _reused() -> State[None]:
    return Completed(name="Cached", message="the artifact was there already")


def _may_pass(state: Any) -> bool:
    """A user's mistake stays one however often it is tried; an engine may recover."""
    try:
        state.result()
    except (BudgetError, ConfigError, DataError, FruitlessError):
        return False
    except Exception:  # noqa: BLE001 - whatever else it was may pass
        return True
    return False
