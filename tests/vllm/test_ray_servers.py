"""Real vLLM servers as actors of a Ray cluster of two nodes: one is killed, the other goes on, and it comes back."""

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from spar_core.config.scale import RayConfig
from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.ray_engine import RayVllmEngine
from spar_core.ports import port_is_free
from spar_core.records import Message
from spar_core.starter import base_model_dir
from tests.ray_cluster import nodes
from tests.vllm.vllm_environment import PYTHON, needs_vllm

ray: Any = pytest.importorskip("ray")
pytestmark = needs_vllm(1800)
PATIENCE_S = 900
TEXTS = [f"List {count} animals." for count in range(2, 22)]


async def answers(engine: RayVllmEngine) -> list[str]:
    asked = [GenerationRequest((Message("user", text),), Sampling(0.0, 1.0, 32), 0) for text in TEXTS]
    found = await asyncio.gather(*map(engine.generate, asked))
    return [generation.completions[0].text for generation in found]


def listening(url: str) -> psutil.Process:
    port = urlsplit(url).port
    (pid,) = {
        entry.pid for entry in psutil.net_connections("tcp") if entry.status == "LISTEN" and entry.laddr[1] == port
    }
    return psutil.Process(pid)


def until(what: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_killed_server_is_replaced_and_all_end_with_their_engine(tmp_path: Path) -> None:
    config = VllmEngineConfig(
        python=str(PYTHON),
        dtype="float32",
        cpu_cache_gib=1,
        extra_args=("--enforce-eager",),
        start_timeout_s=PATIENCE_S,
    )
    with nodes(2) as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        engine = RayVllmEngine(config, str(base_model_dir()), RayConfig(replicas=2), Opening(digest="d", logs=tmp_path))
        try:
            first = engine.replicas.urls
            assert len(set(first)) == 2
            assert all(asyncio.run(answers(engine)))
            listening(first[0]).kill()
            until(lambda: first[0] not in engine.replicas.urls)
            assert all(asyncio.run(answers(engine)))
            until(lambda: len(engine.replicas.urls) == 2)
            assert all(asyncio.run(answers(engine)))
            last = engine.replicas.urls
        finally:
            asyncio.run(engine.close())
        until(lambda: all(port_is_free(urlsplit(url).port) for url in {*first, *last}))
