"""Model servers on a Ray cluster of three nodes: asked together, replaced when one is lost, ended with their owner."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from spar_core.config.scale import RayConfig
from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.ray_engine import RayVllmEngine
from spar_core.engines.ray_replicas import RayReplicas
from spar_core.errors import EngineError
from spar_core.ports import port_is_free
from spar_core.records import Message
from spar_core.starter import base_model_dir
from tests.ray_cluster import nodes
from tests.spar_core.engines.stand_in_server import stand_in

ray: Any = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
TWO = RayConfig(replicas=2)
OWNER = """
import json, sys, time, ray
from pathlib import Path
from spar_core.config.scale import RayConfig
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.ray_replicas import RayReplicas
address, python, model = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
print(json.dumps(RayReplicas(VllmEngineConfig(python=python), model, RayConfig(replicas=1)).urls), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with nodes(3) as started:
        ray.init(address=started.address, log_to_driver=False)
        yield started


@pytest.fixture
def config(tmp_path: Path) -> VllmEngineConfig:
    return VllmEngineConfig(python=stand_in(tmp_path))


def request(text: str) -> GenerationRequest:
    return GenerationRequest((Message("user", text),), Sampling(), 0)


async def answers(engine: RayVllmEngine, count: int) -> list[str]:
    found = await asyncio.gather(*(engine.generate(request(f"a{number}")) for number in range(count)))
    return [generation.completions[0].text for generation in found]


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_lost_machine_is_replaced_while_the_other_server_goes_on(cluster, config, tmp_path):
    wanted = [f"A{number}" for number in range(20)]
    engine = RayVllmEngine(config, str(base_model_dir()), TWO, Opening(digest="d", logs=tmp_path / "logs"))
    try:
        assert asyncio.run(answers(engine, 20)) == wanted
        first = engine.replicas.urls
        assert len(set(first)) == 2
        from ray._private.state import actors

        places = [actor["Address"]["NodeID"] for actor in actors().values() if actor["State"] == "ALIVE"]
        lost = next(node for node in cluster.worker_nodes if node.node_id in places)
        cluster.remove_node(lost, allow_graceful=False)
        until(lambda: set(engine.replicas.urls) < set(first))
        assert asyncio.run(answers(engine, 20)) == wanted
        until(lambda: len(engine.replicas.urls) == 2)
        assert asyncio.run(answers(engine, 20)) == wanted
        assert asyncio.run(engine.is_healthy())
        last = engine.replicas.urls
    finally:
        asyncio.run(engine.close())
    until(lambda: all(port_is_free(urlsplit(url).port) for url in {*first, *last}))
    assert len(list((tmp_path / "logs").glob("replica-*/vllm-*.log"))) >= 2


def test_servers_end_with_a_killed_owner(cluster, config):
    command = [sys.executable, "-c", OWNER, cluster.address, config.python, str(base_model_dir())]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        (url,) = json.loads(owner.stdout.readline())
        assert not port_is_free(urlsplit(url).port)
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.communicate()
    until(lambda: port_is_free(urlsplit(url).port))


def test_servers_that_cannot_start_and_a_full_cluster_are_told(cluster, tmp_path):
    broken = VllmEngineConfig(python=stand_in(tmp_path), env={"STAND_IN_MODE": "ends"})
    with pytest.raises(EngineError, match=r"(?s)did not start on the Ray cluster.*out of luck"):
        RayReplicas(broken, str(base_model_dir()), RayConfig(replicas=1))
    many = RayConfig(replicas=50, start_timeout_s=0.5)
    with pytest.raises(EngineError, match=r"had no room for 50 servers with 1 CPU each .*lower scale\.ray\.replicas"):
        RayReplicas(broken, str(base_model_dir()), many)
