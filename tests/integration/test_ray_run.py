"""Runs on a Ray cluster of three nodes: the artifacts are those without Ray, whatever is lost on the way."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.artifacts import ArtifactStore
from storage.home import Home
from tests.integration.command_line import ROOT, spar, started
from tests.integration.conftest import SMOKE
from tests.ray_cluster import NODE, nodes

pytest.importorskip("prefect_ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(7200)]
SITE = Path(__file__).parent / "ray_site"
ON_WORKERS = {
    "warm_start_examples_actor",
    "warm_start_examples_refiner",
    "prompts",
    "responses",
    "judgements",
    "negatives",
    "trees",
    "pairs",
    "refiner_data",
    "eval_prompts",
    "eval_actor",
    "eval_refiner",
    "eval_votes",
    "eval_scores",
}
WHOLE = ("run", "--preset", "starter", "--json")
SHORT = {
    "iterations": 2,
    "prompts.per_iteration": 32,
    "warm_start.actor_examples": 96,
    "warm_start.refiner_examples": 96,
    "training.warm_start_actor.max_steps": 2,
    "training.warm_start_refiner.max_steps": 2,
    "training.actor.max_steps": 2,
    "training.refiner.max_steps": 2,
    "evaluation.enabled": "false",
    "orchestration.shard_size": 12,
}
"""The starter run cut to few prompts and steps; `make ray-starter` runs it whole."""


class Machines:
    """A cluster whose workers carry out the orders that lie in a folder (see `ray_site`)."""

    def __init__(self, cluster: Any, orders: Path) -> None:
        self.cluster = cluster
        self.orders = orders

    def settings(self) -> list[str]:
        settings = ("scale.runner=ray", f"scale.ray.address={self.cluster.address}", "orchestration.parallel_shards=3")
        return [part for setting in settings for part in ("--set", setting)]

    def ran(self, command: tuple[str, ...], home: Path) -> dict[str, str]:
        done = spar(*command, "--home", home, *self.settings(), timeout=7000)
        assert done.returncode == 0, done.stderr[-4000:]
        return contents(Home(home))


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    orders = tmp_path_factory.mktemp("orders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPAR_RAY_ORDERS", str(orders))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SITE), str(ROOT)]))
        with nodes(3) as cluster:
            patch.undo()
            yield Machines(cluster, orders)


def contents(home: Home) -> dict[str, str]:
    """Digest of the rows and of the model of every artifact, by stage and key."""
    whole, damaged = ArtifactStore(home).scan(verify=True)
    assert not damaged
    refs = [entry.ref for entry in whole]
    return {f"{ref.stage} {ref.stage_key}": f"{ref.content_digest} {ref.model_digest}" for ref in refs}


def test_the_smoke_run_makes_the_same_artifacts(machines, smoke_run, tmp_path):
    assert machines.ran(SMOKE, tmp_path / "home") == contents(smoke_run.home)


def test_a_worker_killed_in_every_stage_changes_nothing(machines, smoke_run, tmp_path):
    for stage in ON_WORKERS:
        (machines.orders / f"kill-{stage}").touch()
    found = machines.ran(SMOKE, tmp_path / "home")
    assert {file.name.split("-")[1] for file in machines.orders.glob("killed-*")} == ON_WORKERS
    assert found == contents(smoke_run.home)


def test_a_machine_lost_in_the_middle_changes_nothing(machines, smoke_run, tmp_path):
    cluster = machines.cluster
    (machines.orders / "hold-trees").write_text(cluster.head_node.node_id)
    run = started(*SMOKE, "--home", tmp_path / "home", *machines.settings())
    try:
        while not (held := list(machines.orders.glob("held-trees-*"))):
            assert run.poll() is None, run.communicate()[1][-4000:]
            time.sleep(0.1)
        lost = held[0].name.split("-")[2]
        cluster.remove_node(next(node for node in cluster.worker_nodes if node.node_id == lost), allow_graceful=False)
    finally:
        _, told = run.communicate()
    assert run.returncode == 0, told[-4000:]
    assert contents(Home(tmp_path / "home")) == contents(smoke_run.home)
    cluster.add_node(**NODE)


def test_the_starter_run_makes_the_same_artifacts(machines, tmp_path):
    cut = {} if "SPAR_RAY_WHOLE" in os.environ else SHORT
    command = (*WHOLE, *(part for name, value in cut.items() for part in ("--set", f"{name}={value}")))
    alone = spar(*command, "--home", tmp_path / "alone", timeout=7000)
    assert alone.returncode == 0, alone.stderr[-4000:]
    assert machines.ran(command, tmp_path / "home") == contents(Home(tmp_path / "alone"))
