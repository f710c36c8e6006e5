"""The Ray cluster that a run computes on: joined and looked over before work starts, left when it ends."""

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL

from spar_core.config.scale import RayConfig
from spar_core.errors import ConfigError, SparError
from storage.home import Home
from tasks.cluster_node import NodeView, look, problems

_log = logging.getLogger(__name__)
_OBJECT_STORE_BYTES = 100 * 2**20  # next to nothing travels through it: shards read and write the home
_LOOK_S = 300.0  # a worker that looks imports this project first, perhaps from a slow file system
_CONNECT_S = 10.0
_HANDED_ON = ("SPAR_DATA_DIR", "NLTK_DATA", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables that say where data are; workers get this process's values."""


class Demand(NamedTuple):
    """What one shard takes of a machine."""

    cores: int = 1
    gpus: int = 0


class RayCluster:
    """A Ray cluster this process has joined.

    Args:
        config: which one.
        home: what every machine of it must see.

    Raises:
        ConfigError: Ray is not installed, the cluster does not answer, or one of its machines cannot do the work; the
            message names the machine and the remedy.
    """

    def __init__(self, config: RayConfig, home: Home) -> None:
        try:
            import ray
            from prefect_ray import RayTaskRunner
        except ImportError as error:
            raise ConfigError(f"scale.runner=ray needs Ray ({error}): pip install -e '.[ray]'") from error
        self.config = config
        self._ray: Any = ray
        self._joined = not ray.is_initialized()
        if self._joined:
            _join(ray, config)
        try:
            nodes = [node for node in self._ray.nodes() if node["Alive"]]
            self.has_gpus = any(node["Resources"].get("GPU") for node in nodes)
            self._most_cores = max(int(node["Resources"].get("CPU", 0)) for node in nodes)
            self._look_over(nodes, home)
            self._runner = RayTaskRunner()
            self._runner.__enter__()
        except BaseException:
            self.leave()
            raise
        _log.info("computing on %d machines of a Ray cluster", len(nodes))

    def submit(self, task: Task[..., Any], parameters: dict[str, Any], demand: Demand) -> PrefectFuture[Any]:
        """Start a task on a worker that has what it takes; on another one if its machine is lost.

        Raises:
            ConfigError: no machine of the cluster is large enough.
        """
        from prefect_ray.context import remote_options

        if demand.cores > self._most_cores:
            raise ConfigError(
                f"engine.threads asks for {demand.cores} cores per shard, and no machine of the Ray cluster has more "
                f"than {self._most_cores}: lower engine.threads"
            )
        with remote_options(num_cpus=demand.cores, num_gpus=demand.gpus):
            future: PrefectFuture[Any] = self._runner.submit(task, parameters)
        return future

    def result(self, future: PrefectFuture[Any]) -> Any:
        """What a task returned, or raised.

        Raises:
            SparError: its workers were lost too often, each with its machine or for want of memory.
        """
        try:
            return future.result()
        except self._ray.exceptions.RayError as error:
            raise SparError(
                f"a shard was lost with its workers ({type(error).__name__}: {error}): see to the machines of the Ray "
                "cluster, then run again; finished shards are kept"
            ) from error

    def cancel(self, futures: Sequence[PrefectFuture[Any]]) -> None:
        """End tasks at once, whatever they are doing."""
        for future in futures:
            with suppress(Exception):  # it has ended by itself, or the cluster is gone
                self._ray.cancel(future.wrapped_future, force=True)  # type: ignore[attr-defined]

    def leave(self) -> None:
        """End what still runs for this process on the cluster, and a Ray that was started for it."""
        if self._joined and self._ray.is_initialized():
            self._ray.shutdown()

    def _look_over(self, nodes: Sequence[Mapping[str, Any]], home: Home) -> None:
        """See that every machine sees the home, runs this very code and reaches Prefect."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        probe = home.work / f"cluster-{uuid.uuid4().hex}"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("every machine of the cluster must see this file", encoding="utf-8")
        looking = self._ray.remote(look)
        try:
            views = [
                (
                    node["NodeManagerAddress"],
                    looking.options(
                        num_cpus=0,
                        max_retries=0,
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                    ).remote(str(probe), PREFECT_API_URL.value()),
                )
                for node in nodes
            ]
            found = [f"machine {host}: {problem}" for host, view in views for problem in self._problems(view, home)]
        finally:
            probe.unlink(missing_ok=True)
        if found:
            raise ConfigError("the Ray cluster cannot do this work: " + "; ".join(found))

    def _problems(self, view: Any, home: Home) -> Iterator[str]:
        try:
            seen: NodeView = self._ray.get(view, timeout=_LOOK_S)
        except self._ray.exceptions.GetTimeoutError:
            yield f"it did not answer within {_LOOK_S:.0f} s: see whether its Ray still works (`ray status`)"
            return
        except Exception as error:  # noqa: BLE001 - whatever keeps it from working is told
            said = (str(error).strip().splitlines() or [""])[-1]
            yield f"it does not work ({type(error).__name__}: {said}): install spar with the extra `ray` there, too"
            return
        yield from problems(seen, home.root, PREFECT_API_URL.value())


def _join(ray: Any, config: RayConfig) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handed_on = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    settings: dict[str, Any] = {
        "namespace": "spar",
        "log_to_driver": False,
        "logging_level": logging.WARNING,
        "runtime_env": {"env_vars": handed_on},
    }
    if config.address is None:
        settings |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        if config.address not in (None, "auto"):
            _knock(config.address)
        with _own_signals():
            ray.init(address=config.address or "local", **settings)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"no Ray cluster answers at scale.ray.address={config.address} ({error}): start it (`ray start --head` on "
            "one machine, `ray start --address HOST:PORT` on the others), and this command on one of its machines"
        ) from error


def _knock(address: str) -> None:
    """See that somebody listens there: Ray itself says only after ten minutes that nobody does.

    Raises:
        OSError, ValueError: nobody does, or it is no address.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, which Ray would replace by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
