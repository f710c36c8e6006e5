"""A Ray cluster of several nodes on this machine, as the tests of several machines start it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_log_monitor": False}
_PATIENCE_S = 240.0


@contextmanager
def nodes(count: int) -> Iterator[Any]:
    """A cluster of so many nodes with a core each, which this process has not joined."""
    from ray import shutdown
    from ray._private import services
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # other programs' memory is no reason to end a worker
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
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
