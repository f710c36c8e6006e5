"""How every stage runs: shards as cached Prefect tasks, then one task that commits the artifact.

A hit in Prefect's cache is believed only while the artifact it refers to is whole (Prefect itself would still
answer "Cached" when the files are gone).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.futures import as_completed

from spar_core.engines.base import Engine
from spar_core.engines.journaled import JournaledEngine
from spar_core.engines.usage import MeteredEngine, UsageMeter
from spar_core.errors import ConfigError, DataError, SparError
from storage.artifacts import ArtifactRef, ArtifactStore, Provenance
from storage.home import Home
from storage.parts import PartWriter
from tasks.bookkeeping import LedgerEntry
from tasks.calls import StageCall
from tasks.progress import StageProgress
from tasks.runtime import Runtime


class ShardRows(NamedTuple):
    """What one shard did with its rows: rows_in = rows_out + rows it wrote to `drops`."""

    rows_in: int
    rows_out: int


@dataclass(frozen=True, slots=True)
class ShardContext:
    """What the work of a shard may touch."""

    call: StageCall
    shard: int
    runtime: Runtime
    part: PartWriter
    meter: UsageMeter = field(default_factory=UsageMeter)
    """Counts what this shard's engines answer."""

    @property
    def store(self) -> ArtifactStore:
        """The home's artifacts."""
        return self.runtime.store

    def read(self, name: str, table: str) -> Any:
        """This shard's rows of an input that was written in the same parts."""
        return self.call.inputs[name].read(table, part=self.shard)

    def engine(self, role: str) -> Engine:
        """The engine of a role; every completion is journaled until the stage is committed."""
        model = self.call.models[role]
        engine = self.runtime.engines.engine(self.call.surroundings.engines[role], model)
        return MeteredEngine(JournaledEngine(engine, self.runtime.journal(self.call, self.shard)), self.meter)


Work = Callable[[ShardContext], ShardRows]


class _WholeArtifactPolicy(CachePolicy):
    """Stage key + shard as cache key; forgets records whose artifact is gone or damaged."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        call: StageCall = inputs["call"]
        shard: int | None = inputs.get("shard")
        store = ArtifactStore(Home(call.home))
        if shard is None:
            name, whole = f"{call.stage}-{call.key}", store.get(call.stage, call.key) is not None
        else:
            name = f"{call.stage}-{call.key}-{shard:05d}"
            whole = store.has_part(call.stage, call.key, shard)
        if not whole:
            with suppress(FileNotFoundError):
                (results_folder(call.home) / name).unlink()
        return name


def results_folder(home: str) -> Path:
    """Where Prefect keeps the small JSON results its cache answers with."""
    return Home(home).prefect / "results"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: its name, the version of its code (raise it when results change), and the work on one shard."""

    name: str
    version: int
    work: Work
    sharded_by: str | None = None
    """The input whose parts are its shards; null: one shard does it all."""
    splits: bool = False
    """The one shard writes further parts itself (see `write_in_parts`)."""

    def parts(self, inputs: Mapping[str, ArtifactRef]) -> int:
        """Number of shards for these inputs."""
        return 1 if self.sharded_by is None else len(inputs[self.sharded_by].manifest().parts)

    def named(self, place: str) -> "Stage":
        """The same stage under a name of its own: an iteration of a run holds a stage of one name once."""
        return replace(self, name=f"{self.name}-{place}")

    def run(self, call: StageCall, parts: int = 1) -> ArtifactRef:
        """Run or reuse the stage inside a flow and enter it in the ledger.

        Args:
            call: inputs, models and configuration.
            parts: number of shards, each writing one part of the artifact.

        Raises:
            SparError: a shard failed after its retries; finished shards and completions are kept.
        """
        runtime = Runtime.of(call.home)
        place = (call.run_id, call.iteration, call.key)
        if place in runtime.finished and runtime.store.get(call.stage, call.key) is not None:
            return runtime.finished[place]  # asked for a second time in this run: entered once
        entry = LedgerEntry(runtime.ledger, call)
        cached = runtime.store.get(call.stage, call.key) is not None
        progress = StageProgress(call, parts, runtime.reporter)
        try:
            if not cached:
                if self.splits:  # its first part does not tell how many others there should be
                    runtime.store.discard_parts(call.stage, call.key)
                self._run_shards(call, parts, progress)
            artifact = runtime.store.open(self._commit_task(call)(call, parts))
        except BaseException as error:
            entry.failed(error)
            progress.failed(error)
            raise
        runtime.finished[place] = artifact
        seconds = entry.completed(artifact, cached=cached)
        progress.finished(artifact, cached=cached, seconds=seconds)
        return artifact

    def _run_shards(self, call: StageCall, parts: int, progress: StageProgress) -> None:
        shard_task = self._shard_task(call)
        waiting = iter(range(parts))
        limit = call.surroundings.orchestration.parallel_shards
        going = {shard_task.submit(call, shard) for shard in islice(waiting, limit)}
        failure: BaseException | None = None
        while going:
            future = next(as_completed(list(going)))
            going.remove(future)
            try:
                future.result()
                progress.advanced()
            except (SparError, Exception) as error:  # noqa: BLE001 - those under way finish first, then it is raised
                failure = failure or error
            if failure is None:
                going.update(shard_task.submit(call, shard) for shard in islice(waiting, 1))
        if failure is not None:
            raise failure

    def _shard_task(self, call: StageCall) -> Task[[StageCall, int], int]:
        def shard_of_stage(call: StageCall, shard: int) -> int:
            self._work(call, shard)
            return shard

        shard_of_stage.__name__ = f"{self.name}_shard"
        return task(
            name=self.name,
            task_run_name=f"{self.name}-{call.iteration}-shard-{{shard}}",
            retries=call.surroundings.orchestration.shard_retries,
            retry_delay_seconds=1,
            retry_condition_fn=_worth_retrying,
            cache_policy=_WholeArtifactPolicy(),
            persist_result=True,
            result_storage=results_folder(call.home),
            result_serializer="json",
        )(shard_of_stage)

    def _commit_task(self, call: StageCall) -> Task[[StageCall, int], dict[str, Any]]:
        def commit_stage(call: StageCall, parts: int) -> dict[str, Any]:
            return self._commit(call, parts).to_json()

        commit_stage.__name__ = f"{self.name}_commit"
        return task(
            name=f"{self.name} commit",
            task_run_name=f"{self.name}-{call.iteration}",
            cache_policy=_WholeArtifactPolicy(),
            persist_result=True,
            result_storage=results_folder(call.home),
            result_serializer="json",
        )(commit_stage)

    def _work(self, call: StageCall, shard: int) -> None:
        runtime = Runtime.of(call.home)
        if runtime.store.has_part(call.stage, call.key, shard):
            return
        with runtime.store.part(call.stage, call.key, shard) as part:
            context = ShardContext(call, shard, runtime, part)
            rows = self.work(context)
            part.account(rows_in=rows.rows_in, rows_out=rows.rows_out)
            used = context.meter.stats
            if used.requests:
                tokens = {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
                part.measure({"requests": used.requests, **tokens})

    def _commit(self, call: StageCall, parts: int) -> ArtifactRef:
        runtime = Runtime.of(call.home)
        finished = runtime.store.get(call.stage, call.key)
        if finished is not None:
            return finished
        provenance = Provenance(
            inputs=tuple(call.inputs.values()),
            model_digests={role: model.digest for role, model in call.models.items()},
            config=dict(call.config),
            code_version=str(self.version),
        )
        artifact = runtime.store.commit(
            call.stage, call.key, parts=None if self.splits else parts, provenance=provenance
        )
        for shard in range(parts):
            runtime.journal(call, shard).discard()
        return artifact


def write_in_parts(context: ShardContext, table: str, records: Sequence[Any], size: int) -> int:
    """Cut records into parts of `size`, so that later stages run one shard per part; returns their number.

    The first part is the shard's own and appears last: with it, all are there.
    """
    context.store.discard_parts(context.call.stage, context.call.key)  # an earlier try may have cut otherwise
    slices = [records[start : start + size] for start in range(0, len(records), size)] or [records]
    for index in range(1, len(slices)):
        with context.store.part(context.call.stage, context.call.key, index) as part:
            part.write(table, slices[index])
    context.part.write(table, slices[0])
    return len(slices)


def _worth_retrying(task: Any, task_run: Any, state: Any) -> bool:
    """A user's mistake stays one however often it is tried, an interrupted process ends; an engine may recover."""
    if Runtime.any_interrupted():
        return False
    try:
        state.result()
    except (ConfigError, DataError):
        return False
    except Exception:  # noqa: BLE001 - whatever else it was may pass
        return True
    return False
