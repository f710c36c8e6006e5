"""Where the shards of a stage are computed: the one place that chooses the task runner."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.secrets import hide_in_logs
from tasks.calls import StageCall
from tasks.cluster import Demand, RayCluster
from tasks.logs import logs_in_prefect
from tasks.runtime import Runtime

# Prefect types its own decorator for another runner than the one it ships.
THREADS: Any = ThreadPoolTaskRunner(max_workers=64)
"""The task runner of every flow; at most orchestration.parallel_shards of a stage work at once."""
_COMPUTED_IN_PROCESS = ("transformers", "scripted")
_WAITING_AWAY = 64


class ShardRunner:
    """Starts the shards of one stage: on threads of this process, or on workers of the Ray cluster.

    Shards that ask servers stay here whatever the configuration says: their requests share a batch, and waiting costs
    no core.

    Args:
        call: of the stage.
        stays: the stage cannot be computed elsewhere.
    """

    def __init__(self, call: StageCall, *, stays: bool = False) -> None:
        self._call = call
        engines = call.engines.values()
        wanted = call.surroundings.scale.runner == "ray" and not stays
        self.away = wanted and all(engine.kind in _COMPUTED_IN_PROCESS for engine in engines)
        """Whether shards are computed in other processes, which know nothing of this one's engines and counts."""

    @property
    def at_once(self) -> int | Literal["auto"]:
        """Shards to have under way: as configured; `auto` on a cluster, which queues them, more than it bears."""
        configured = self._call.surroundings.orchestration.parallel_shards
        return _WAITING_AWAY if self.away and configured == "auto" else configured

    def submit(self, task: Task[[StageCall, int], Any], shard: int) -> PrefectFuture[Any]:
        """Start one shard."""
        if not self.away:
            return task.submit(self._call, shard)
        cluster = self._cluster()
        return cluster.submit(task, {"call": self._call, "shard": shard}, self._demand(cluster))

    def result(self, shard: PrefectFuture[Any]) -> Any:
        """What a shard returned.

        Raises:
            SparError: it failed, or was lost with its worker too often.
        """
        return self._cluster().result(shard) if self.away else shard.result()

    def cancel(self, shards: Sequence[PrefectFuture[Any]]) -> None:
        """Give up what is under way elsewhere; threads see by themselves that they are to end."""
        if self.away and shards:
            self._cluster().cancel(shards)

    def _cluster(self) -> RayCluster:
        return Runtime.of(self._call.home).cluster(self._call.surroundings.scale.ray)

    def _demand(self, cluster: RayCluster) -> Demand:
        """A model that is loaded by the shard takes the cores it computes with, and a GPU where the cluster has any."""
        loaded = [engine for engine in self._call.engines.values() if isinstance(engine, TransformersEngineConfig)]
        cores = max((engine.threads or 1 for engine in loaded), default=1)
        return Demand(cores, int(cluster.has_gpus and any(engine.device != "cpu" for engine in loaded)))


@contextmanager
def working_away(call: StageCall) -> Iterator[None]:
    """What surrounds the work on a shard in a process that is not the run's: its log, and nothing left loaded."""
    runtime = Runtime.of(call.home)
    hide_in_logs()
    runtime.forget_spending()
    with logs_in_prefect():
        try:
            yield
        finally:
            runtime.engines.stage_ended(call.key)
            runtime.engines.close_all()
