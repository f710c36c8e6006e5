"""A Ray cluster of several nodes on this machine, as the tests of several machines start it."""

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spar_core.ports import free_port

_PATIENCE_S = 240.0
_AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_log_monitor": False}


@contextmanager
def nodes(count: int) -> Iterator[Any]:
    """A cluster of so many nodes with a core each, which this process has not joined."""
    from ray import shutdown
    from ray._private import services, utils
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # other programs' memory is no reason to end a worker
        patch.setenv("RAY_worker_niceness", "0")  # else they stand behind everything else this machine does
        patch.setenv("RAY_agent_register_timeout_ms", str(int(_PATIENCE_S * 1000)))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setattr(utils, "get_dashboard_dependency_error", lambda: ImportError("not wanted"))
        patch.setattr(services, "start_raylet", _not_waiting(services.start_raylet))
        patch.setattr(services, "get_node", _patient(services.get_node))
        cluster = Cluster()
        try:
            cluster.add_node(**NODE, include_dashboard=False)
            for _ in range(count - 1):
                cluster.add_node(**NODE)
            cluster.wait_for_nodes(timeout=_PATIENCE_S)
            yield cluster
        finally:
            shutdown()
            cluster.shutdown()


def _not_waiting(start_raylet: Any) -> Any:
    """Choose the ports of a node's agents before they start: Ray waits no more than 15 s for agents to tell theirs."""

    def starting(*arguments: Any, **options: Any) -> Any:
        given = inspect.signature(start_raylet).bind(*arguments, **options).arguments
        for name in _AGENT_PORTS:
            given[name] = free_port()
            Path(given["session_dir"], f"{name}_{given['node_id']}").write_text(str(given[name]))
        return start_raylet(**given)

    return starting


def _patient(get_node: Any) -> Any:
    """Ray gives a node half a minute to start, which a busy machine exceeds."""

    def waiting(*arguments: Any) -> Any:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    return waiting
