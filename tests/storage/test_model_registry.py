"""Registered models: by reference, once each, found by alias."""

import shutil
import subprocess
import sys

import pytest

from spar_core.errors import StorageError
from storage import catalog
from storage.home import Home
from storage.mlflow_store import connect
from storage.registry import Registration, Registry
from storage.tracking import Tracker

pytestmark = pytest.mark.slow  # MLflow creates its database in dozens of migrations


@pytest.fixture
def home(tmp_path):
    """With its database, for processes beside this one."""
    home = Home(tmp_path / "home")
    connect(home)
    return home


def _model(home, iteration, **changes):
    path = home.artifacts / f"model-{iteration}"
    path.mkdir(parents=True, exist_ok=True)
    fields = {"run_id": "r1", "role": "actor", "iteration": iteration, "path": path, "digest": f"weights-{iteration}"}
    return Registration(**fields | changes)


def test_a_resumed_stage_adds_no_version_and_aliases_follow_the_newest(home):
    first = Registry(home).register(_model(home, 0))
    second = Registry(home).register(_model(home, 1, parent_version=1, parent_digest="weights-0"))
    again = Registry(home).register(_model(home, 0))
    assert (first.version, second.version, again.version) == (1, 2, 1)
    registry = Registry(home)
    assert [version.version for version in registry.versions("actor")] == [1, 2]
    assert registry.resolve("actor@candidate") == second._replace(aliases=("candidate",))
    assert registry.resolve("actor/1").aliases == ()
    assert registry.resolve("actor/1").path == home.artifacts / "model-0"
    other_run = registry.register(_model(home, 0, run_id="r2"))
    assert other_run.version == 3


def test_promotion_moves_the_champion_of_its_lineage(home):
    registry = Registry(home)
    for role in ("actor", "refiner"):
        for iteration in (0, 1):
            registry.register(_model(home, iteration, role=role))
    with pytest.raises(StorageError, match=r"no 'actor@champion' .* versions: 1, 2"):
        registry.resolve("actor@champion")
    assert registry.champion("actor", "aa11") is None
    for role, version, lineage in (("actor", 1, "aa11"), ("refiner", 1, "aa11"), ("actor", 2, "bb22")):
        assert f"champion-{lineage}" in registry.promote(role, version, lineage).aliases
    assert registry.champion("actor") is None
    registry.crown("aa11")
    assert registry.resolve("actor@champion").digest == registry.resolve("actor@champion-aa11").digest == "weights-0"
    assert registry.resolve("refiner@champion").version == 1
    registry.crown("bb22")  # in which no refiner was promoted yet
    assert registry.resolve("actor@champion").aliases == ("candidate", "champion", "champion-bb22")
    assert registry.resolve("refiner@champion").version == 1
    with pytest.raises(StorageError, match="actor/9"):
        registry.promote("actor", 9, "aa11")


def test_what_was_decided_is_noted_on_the_version(home):
    registry = Registry(home)
    registry.register(_model(home, 0))
    assert registry.decision("actor", 1) is None
    registry.note_decision("actor", 1, "refused", "accuracy 40.0 against 50.0 %: worse")
    assert Registry(home).decision("actor", 1) == "refused"
    tags = connect(home).get_model_version("actor", "1").tags
    assert tags["spar.decision_because"] == "accuracy 40.0 against 50.0 %: worse"


def test_everything_about_a_version_is_in_mlflow_and_in_the_catalogue(home):
    run = Tracker(home).open_run("r1")
    model = _model(
        home,
        2,
        role="refiner",
        parent_digest="weights-1",
        train_stage_key="key",
        dataset_digests={"examples": "abc"},
        metrics={"balanced_accuracy": 0.75},
        mlflow_run=run,
    )
    Registry(home).register(model)
    client = connect(home)
    version = client.get_model_version_by_alias("refiner", "candidate")
    assert version.tags["spar.dataset.examples"] == "abc"
    assert version.tags["spar.parent_digest"] == "weights-1"
    assert version.run_id == run
    model_id = version.source.removeprefix("models:/")
    logged = client.get_logged_model(model_id)
    assert (logged.status, logged.model_type) == ("READY", "refiner")
    assert {metric.key: metric.value for metric in logged.metrics} == {"balanced_accuracy": 0.75}
    assert [output.model_id for output in client.get_run(run).outputs.model_outputs] == [model_id]
    with catalog.open_catalog(home) as opened:
        (row,) = opened.rows("SELECT role, iteration, name, version, uri, digest, parent_digest, stage_key FROM models")
    assert tuple(row.values()) == ("refiner", 2, "refiner", 1, "artifacts/model-2", "weights-2", "weights-1", "key")


def test_versions_made_by_other_tools_are_left_alone(home):
    registry = Registry(home)
    registry.register(_model(home, 0))
    connect(home).create_model_version("actor", source=str(home.root / "elsewhere"))
    assert [version.version for version in registry.versions("actor")] == [1]
    assert registry.register(_model(home, 1)).version == 3


_OPEN = """
import sys
from storage.home import Home
from storage.tracking import Tracker
print(Tracker(Home(sys.argv[1])).open_run("r1", {"seed": 2}))
"""


def _opened_by_another_process(home) -> str:
    """MLflow remembers for the life of a process where a run's files lie."""
    command = [sys.executable, "-c", _OPEN, str(home.root)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_moved_home_keeps_models_and_files_together(home, tmp_path):
    Registry(home).register(_model(home, 0, mlflow_run=Tracker(home).open_run("r1", {"seed": 1})))
    moved = Home(tmp_path / "moved")
    home.root.rename(moved.root)
    assert Registry(moved).resolve("actor/1").path == moved.artifacts / "model-0"
    run = _opened_by_another_process(moved)
    assert not home.root.exists()
    files = moved.mlflow / "artifacts" / run / "artifacts"
    assert (files / "config.json").read_text() == '{"seed":2}'
    assert connect(moved).get_run(run).info.artifact_uri == files.as_uri()


def test_a_copied_home_writes_and_reads_nothing_of_the_original(home, tmp_path):
    Registry(home).register(_model(home, 0, mlflow_run=Tracker(home).open_run("r1", {"seed": 1})))
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    copy = Home(shutil.copytree(home.root, tmp_path / "copy"))
    assert Registry(copy).resolve("actor/1").path == copy.artifacts / "model-0"
    _opened_by_another_process(copy)
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_a_model_registered_by_an_older_version_is_found_in_the_home_that_is_asked(home, tmp_path):
    Registry(home).register(_model(home, 0))
    for name, path in {"spar.path": str(home.artifacts / "model-0"), "spar.home_path": "artifacts/model-0"}.items():
        connect(home).set_model_version_tag("actor", "1", name, path)
    copy = Home(shutil.copytree(home.root, tmp_path / "copy"))
    assert Registry(copy).resolve("actor/1").path == copy.artifacts / "model-0"


def test_what_is_not_there_is_a_clear_error(home):
    registry = Registry(home)
    with pytest.raises(StorageError, match="versions: none"):
        registry.resolve("actor@candidate")
    with pytest.raises(StorageError, match="name@alias or name/version"):
        registry.resolve("actor")
    with pytest.raises(StorageError, match="no such folder"):
        registry.register(_model(home, 0, path=home.root / "absent"))
    model = _model(home, 0)
    registry.register(model)
    model.path.rmdir()
    with pytest.raises(StorageError, match="is gone"):
        registry.resolve("actor@candidate")


def test_scores_measured_later_are_on_the_version_and_on_their_run(home):
    registry = Registry(home)
    version = registry.register(_model(home, 3, mlflow_run=Tracker(home).open_run("r1")))
    run = Tracker(home).open_run("eval-1")
    for value in (0.25, 0.5):
        registry.log_scores(version, {"ifeval/prompt_strict": value, "llmbar/CoT (a)": 0.75}, run)
    client = connect(home)
    model_id = client.get_model_version("actor", "1").source.removeprefix("models:/")
    latest = {m.key: (m.value, m.step) for m in client.get_logged_model(model_id).metrics if m.run_id == run}
    assert latest["ifeval/prompt_strict"][1] == 3
    assert latest["llmbar/CoT _a_"] == (0.75, 3)
    assert client.get_run(run).data.metrics["ifeval/prompt_strict"] == 0.5
