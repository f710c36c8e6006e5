"""The smoke run on a Ray cluster of three nodes: the same artifacts as on one machine without Ray."""

import pytest

from storage.artifacts import ArtifactStore
from storage.home import Home
from tests.integration.command_line import spar
from tests.integration.conftest import SMOKE
from tests.ray_cluster import nodes

pytest.importorskip("prefect_ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(3600)]


def contents(home: Home) -> dict[str, str]:
    """Digest of the rows and of the model of every artifact, by stage key."""
    whole, damaged = ArtifactStore(home).scan(verify=True)
    assert not damaged
    return {entry.ref.stage_key: f"{entry.ref.content_digest} {entry.ref.model_digest}" for entry in whole}


def test_the_artifacts_of_a_run_are_those_without_ray(smoke_run, tmp_path):
    with nodes(3) as cluster:
        settings = ("scale.runner=ray", f"scale.ray.address={cluster.address}", "orchestration.parallel_shards=3")
        options = [part for setting in settings for part in ("--set", setting)]
        done = spar(*SMOKE, "--home", tmp_path / "home", *options, timeout=3000)
    assert done.returncode == 0, done.stderr[-4000:]
    assert contents(Home(tmp_path / "home")) == contents(smoke_run.home)
