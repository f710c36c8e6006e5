"""A whole run with its home in an object store that fails, delays and cuts: the artifacts are those of a folder."""

import json
import os
from collections.abc import Iterator

import pytest

from storage.artifacts import ArtifactStore
from storage.home import Home
from tests.integration.command_line import spar
from tests.storage.object_server import FaultyProxy

pytest_plugins = ["tests.storage.remote_homes"]
RUN = ("run", "--preset", "smoke", "--json")


@pytest.fixture
def proxy(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Before the server of `s3_url`; every third request of these methods meets the next fault."""
    opened = FaultyProxy(os.environ["AWS_ENDPOINT_URL"])
    opened.every = {"GET": ["error", "slow", "cut"], "PUT": ["error", "lost", "slow"], "HEAD": ["error", "slow"]}
    monkeypatch.setenv("AWS_ENDPOINT_URL", opened.address)
    yield opened
    opened.close()


def digests(home: Home) -> dict[tuple[str, str], str]:
    return {
        (whole.ref.stage, whole.ref.stage_key): whole.ref.content_digest for whole in ArtifactStore(home).scan().whole
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_over_a_store_with_faults_has_the_artifacts_of_one_on_a_disk(proxy, s3_url, tmp_path, monkeypatch):
    over_store = spar(*RUN, "--home", s3_url, timeout=900, SPAR_WORK=str(tmp_path / "one"))
    assert over_store.returncode == 0, over_store.stderr
    on_disk = spar(*RUN, "--home", tmp_path / "home", timeout=900)
    assert on_disk.returncode == 0, on_disk.stderr

    monkeypatch.setenv("SPAR_WORK", str(tmp_path / "reader"))
    reader = Home(s3_url)
    reader.check_layout()
    found = digests(reader)
    assert len(found) > 20
    assert found == digests(Home(tmp_path / "home"))
    assert {"error", "lost", "cut", "slow"} <= {fault for _, fault in proxy.met}

    # On another machine the run is known as a finished one.
    again = spar(*RUN, "--home", s3_url, timeout=600, SPAR_WORK=str(tmp_path / "two"))
    assert again.returncode == 0, again.stderr
    reader.check_layout()
    assert digests(reader) == found
    state = json.loads(spar("status", "--json", "--home", s3_url, SPAR_WORK=str(tmp_path / "two")).stdout)
    assert state["state"] == "completed"
    assert {row["state"] for row in state["stages"]} == {"completed"}
