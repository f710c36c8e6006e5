"""A whole run with its home in an object store that fails, delays and cuts: the artifacts are those of a folder."""

import json
import os
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from flows.cli import invoke
from flows.view.app import make_app
from storage.artifacts import ArtifactStore
from storage.home import Home
from tests.integration.command_line import spar
from tests.storage.object_server import FaultyProxy

pytest_plugins = ["tests.storage.remote_homes"]
RUN = ("run", "--preset", "smoke", "--json")
QUESTIONS = (
    "SELECT stage, content_digest, rows_in, rows_out FROM artifacts ORDER BY ALL",
    "SELECT n.depth, n.accepted, count(*) AS n FROM trees t JOIN tree_nodes n USING (run_id, iteration, tree_id) "
    "GROUP BY ALL ORDER BY ALL",
    "SELECT stage, reason, count(*) AS n FROM drops GROUP BY ALL ORDER BY ALL",
    "SELECT role, metric, value FROM eval_scores ORDER BY ALL",
    "SELECT l.parent_kind, l.parent_id FROM models m JOIN lineage l ON l.child_id = m.digest ORDER BY ALL",
)
PAGES = ("/runs", "/prompts", "/trees", "/pairs", "/drops", "/evaluation", "/models", "/models/actor/2")


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


def told(place: str, capsys: pytest.CaptureFixture[str]) -> list[object]:
    """What commands that read say of a home: rows by digest and number, and what a model was made from."""
    found: list[object] = []
    for sql in QUESTIONS:
        assert invoke(["sql", "--home", place, "--json", sql]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert all(found)
    assert invoke(["lineage", "refiner/2", "--home", place, "--json"]) == 0
    lineage = json.loads(capsys.readouterr().out)
    assert lineage
    return [*found, lineage]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_over_a_store_with_faults_has_the_artifacts_of_one_on_a_disk(
    proxy, s3_url, tmp_path, monkeypatch, capsys
):
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

    # What is asked of it is answered as of the folder, through the same faults, and nothing is copied.
    assert told(s3_url, capsys) == told(str(tmp_path / "home"), capsys)
    with TestClient(make_app(reader), base_url="http://127.0.0.1") as view:
        assert {page: view.get(page).status_code for page in PAGES} == dict.fromkeys(PAGES, 200)
    assert not list(reader.root.rglob("*.parquet"))

    # On another machine the run is known as a finished one.
    again = spar(*RUN, "--home", s3_url, timeout=600, SPAR_WORK=str(tmp_path / "two"))
    assert again.returncode == 0, again.stderr
    reader.check_layout()
    assert digests(reader) == found
    state = json.loads(spar("status", "--json", "--home", s3_url, SPAR_WORK=str(tmp_path / "two")).stdout)
    assert state["state"] == "completed"
    assert {row["state"] for row in state["stages"]} == {"completed"}
