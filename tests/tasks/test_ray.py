"""Shards on a Ray cluster of three nodes on this machine: the same artifacts, and a lost node costs only its shards."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spar_core.config.scale import RayConfig
from spar_core.errors import ConfigError
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.cluster import RayCluster
from tasks.responses import RESPONSES
from tasks.runtime import Runtime
from tests.ray_cluster import nodes
from tests.tasks.ray_stages import CUT, SHARDS, STAYING, TOGETHER, RayBench, worked

pytest.importorskip("prefect_ray")
ray: Any = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("prefect_server"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with nodes(SHARDS) as started:
        yield started


@pytest.fixture
def bench(cluster: Any, tmp_path: Path) -> RayBench:
    return RayBench(tmp_path / "ray", cluster.address)


def test_shards_are_computed_on_all_nodes_and_their_artifacts_are_the_same(bench, tmp_path):
    made = bench.run(CUT, TOGETHER)
    entries = worked(bench.notes)
    assert sorted(entry.shard for entry in entries) == [0, 1, 2]
    assert len({entry.node for entry in entries}) == SHARDS
    assert os.getpid() not in {entry.process for entry in entries}
    assert not ray.is_initialized()  # left with the home

    threads = RayBench(tmp_path / "threads")
    assert threads.run(CUT, TOGETHER).content_digest == made.content_digest
    assert {entry.process for entry in worked(threads.notes)} == {os.getpid()}


def test_what_models_write_elsewhere_is_journaled_and_counted_here(bench, tmp_path):
    sampling = {"responses": {"per_prompt": 2}}
    made = bench.run(CUT, RESPONSES, **sampling)
    spent = Runtime.of(str(bench.home.root)).spending("run").spent
    written = sum(response.completion_tokens for response in made.read("responses"))
    assert (spent.written, made.rows["responses"]) == (written, 12)
    assert written > 0
    assert not list(bench.home.journal.rglob("*.sqlite*"))  # of a stage that is committed
    threads = RayBench(tmp_path / "threads")
    assert threads.run(CUT, RESPONSES, **sampling).content_digest == made.content_digest


def test_a_stage_that_stays_is_computed_here(bench):
    bench.run(CUT, STAYING)
    assert {entry.process for entry in worked(bench.notes)} == {os.getpid()}


def test_a_lost_node_costs_only_its_shards(bench, cluster, tmp_path):
    (bench.notes / "hold").touch()
    found: list[ArtifactRef] = []
    running = threading.Thread(target=lambda: found.append(bench.run(CUT, TOGETHER)))
    running.start()
    try:
        while len(worked(bench.notes)) < SHARDS:
            assert running.is_alive()
            time.sleep(0.05)
        head = cluster.head_node.node_id
        lost = next(entry for entry in worked(bench.notes) if entry.node != head)
        cluster.remove_node(
            next(node for node in cluster.worker_nodes if node.node_id == lost.node), allow_graceful=False
        )
    finally:
        (bench.notes / "hold").unlink()
        running.join()
    assert sorted(entry.shard for entry in worked(bench.notes)) == sorted([0, 1, 2, lost.shard])
    threads = RayBench(tmp_path / "threads")
    assert threads.run(CUT, TOGETHER).content_digest == found[0].content_digest


@pytest.mark.timeout(120)  # left to Ray it takes more than ten minutes
def test_a_cluster_that_does_not_answer_is_told_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at scale\.ray\.address=127\.0\.0\.1:9 .*ray start"):
        RayCluster(RayConfig(address="127.0.0.1:9"), Home(tmp_path))
