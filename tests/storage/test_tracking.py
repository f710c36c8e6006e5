"""MLflow shows a run once, however often it was resumed."""

import json
import math

import pytest

from spar_core.errors import StorageError
from spar_core.records import Prompt
from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.mlflow_store import connect, tracking_uri
from storage.tracking import Point, Tracker

pytestmark = pytest.mark.slow  # MLflow creates its database in dozens of migrations


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One database for all tests: making it takes seconds, so each test has its own run."""
    return Home(tmp_path_factory.mktemp("tracked"))


def _history(home, mlflow_run, metric):
    return [(entry.step, entry.value) for entry in connect(home).get_metric_history(mlflow_run, metric)]


def test_a_resumed_run_is_the_same_run_with_the_same_children(home):
    first = Tracker(home)
    ids = [first.open_run("r1", {"train": {"lr": 2e-7, "betas": [0.9, 0.999]}, "preset": "smoke"})]
    ids += [first.open_iteration("r1", 1), first.open_stage("r1", 1, "train_actor", "k1")]
    first.close(ids[0], "failed")
    again = Tracker(home)
    assert ids[0] == again.open_run("r1", {"train": {"lr": 1.0, "betas": [0.9, 0.999]}, "preset": "smoke"}, "running")
    assert ids[1:] == [again.open_iteration("r1", 1), again.open_stage("r1", 1, "train_actor", "k1")]
    others = {again.open_run("r2"), again.open_iteration("r1", 2), again.open_stage("r1", 1, "train_actor", "k2")}
    assert len(others | set(ids)) == 6

    client = connect(home)
    run = client.get_run(ids[0])
    assert run.info.status == "RUNNING"
    assert run.data.params == {"train.lr": "2e-07", "train.betas": "[0.9,0.999]", "preset": "smoke"}
    assert '"lr":1.0' in (home.mlflow / "artifacts" / ids[0] / "artifacts" / "config.json").read_text()
    assert client.get_run(ids[1]).data.tags["mlflow.parentRunId"] == ids[0]
    assert client.get_run(ids[2]).data.tags["mlflow.parentRunId"] == ids[1]


def test_points_are_logged_once_and_changed_values_are_added(home):
    run = Tracker(home).open_run("points")
    curve = [Point(step, {"loss": 1 / (step + 1)}) for step in range(1500)]
    Tracker(home).log_points(run, curve[:1200])
    Tracker(home).log_points(run, curve)
    assert _history(home, run, "loss") == [(step, 1 / (step + 1)) for step in range(1500)]
    Tracker(home).log_metrics(run, {"acc%": 0.25}, step=1)
    tracker = Tracker(home)
    tracker.log_metrics(run, {"acc%": 0.25}, step=1)
    tracker.log_metrics(run, {"acc%": 0.5}, step=1)
    assert _history(home, run, "acc_") == [(1, 0.25), (1, 0.5)]
    assert math.isclose(connect(home).get_run(run).data.metrics["acc_"], 0.5)


def test_datasets_links_and_the_end_of_a_run(home):
    store = ArtifactStore(home)
    with store.part("pairs", "k", 0) as part:
        part.write("prompts", [Prompt("a", "A")])
    artifact = store.commit("pairs", "k", rows_in=1, rows_out=1)
    tracker = Tracker(home)
    run = tracker.open_run("datasets")
    for _ in range(2):
        tracker.log_dataset(run, artifact, "training")
    tracker.tag(run, "prefect", "http://127.0.0.1:4200/runs/1")
    tracker.close(run, "completed")
    entry = connect(home).get_run(run)
    (used,) = entry.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("pairs", artifact.content_digest)
    assert json.loads(used.dataset.profile) == {"table": "prompts", "num_rows": 1}
    columns = json.loads(used.dataset.schema)["mlflow_colspec"]
    assert {"name": "text", "type": "string", "required": True} in columns
    assert {tag.key: tag.value for tag in used.tags} == {"mlflow.data.context": "training"}
    assert entry.data.tags["spar.prefect"] == "http://127.0.0.1:4200/runs/1"
    assert entry.info.status == "FINISHED"


def test_a_database_that_is_none_is_a_clear_error(tmp_path):
    home = Home(tmp_path)
    home.mlflow.mkdir()
    (home.mlflow / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match="MLflow's database"):
        Tracker(home)
    assert str(home.mlflow) in tracking_uri(home)


def test_a_run_is_closed_with_what_is_open_below_it_and_a_finished_one_is_not_reopened(home):
    tracker = Tracker(home)
    run = tracker.open_run("ends", {}, "running")
    iteration, training = tracker.open_iteration("ends", 1), tracker.open_stage("ends", 2, "train_actor", "k")
    tracker.close(iteration, "completed")
    tracker.close_run("ends", "waiting", "failed")
    client = connect(home)

    def states():
        return [client.get_run(entry).info.status for entry in (run, iteration, training)]

    assert states() == ["SCHEDULED", "FINISHED", "FAILED"]
    tracker.close_run("ends", "completed", "completed")
    Tracker(home).open_run("ends")  # as a later look at it does
    Tracker(home).open_run("ends", None, "completed")
    assert states() == ["FINISHED", "FINISHED", "FAILED"]
    tracker.close_run("unknown", "interrupted", "interrupted")
