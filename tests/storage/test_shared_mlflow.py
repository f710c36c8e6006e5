"""Many homes on one MLflow: directly on a PostgreSQL, and through MLflow's server on it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from spar_core.errors import StorageError
from spar_core.ports import free_port
from spar_core.training.process_group import stop_group
from storage.home import Home
from storage.mlflow_store import TRACKING_VARIABLE, connect, database_finding, mlflow_errors, upgrade_database
from storage.prompt_registry import log_prompts
from storage.registry import Registration, Registry
from storage.traces import Step, Trace, Traces
from storage.tracking import Point, Tracker
from tests.postgres_server import PASSWORD, running_postgres

slow = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a database that `spar db upgrade` has set up."""
    with running_postgres(["mlflow"]) as address, pytest.MonkeyPatch.context() as patch:
        url = f"postgresql://{address}/mlflow"
        patch.setenv(TRACKING_VARIABLE, url)
        assert "spar db upgrade" in str(database_finding(url))
        upgrade_database(Home(Path("unused")))
        assert database_finding(url) is None
        yield url


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of MLflow's server on that database."""
    port, files = free_port(), tmp_path_factory.mktemp("files")
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(files)]
    variables = {**os.environ, "MLFLOW_BACKEND_STORE_URI": database}
    variables.pop(TRACKING_VARIABLE, None)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=variables, start_new_session=True, **quiet)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 180
    try:
        while True:
            try:
                assert httpx.get(f"{url}/health").is_success
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.3)
        yield url
    finally:
        stop_group(process)


def home_with_a_model(folder: Path) -> Home:
    (folder / "model").mkdir(parents=True)
    home = Home(folder)
    home.settle()
    return home


def everything_logged(home: Home) -> None:
    tracker = Tracker(home)
    run = tracker.open_run("nights", {"seed": 1}, "running")
    tracker.log_points(run, [Point(step, {"loss": 1.0 / step}) for step in (1, 2)])
    tracker.log_page("nights", "report.html", "<p>a page</p>")
    assert log_prompts(home, "published", {"judge": "Is it so?"}, run) == {"judge": 1}
    Traces(home).log(Trace("a-tree", Step("tree", "CHAIN", {"prompt": "p"}), datetime.now(UTC), 1.0), run)
    registry = Registry(home)
    model = Registration("nights", "actor", 1, home.root / "model", "d1", metrics={"right": 0.5}, mlflow_run=run)
    assert registry.register(model).version == 1
    assert registry.register(model).version == 1, "the same model is not registered twice"
    registry.promote("actor", 1, "line")
    registry.crown("line")
    registry.note_decision("actor", 1, "promoted", "better")
    registry.describe("actor", 1, "A model.")
    registry.log_scores(registry.resolve("actor/1"), {"wrong": 0.1}, run)
    tracker.close_run("nights", "completed", "completed")
    found = registry.resolve("actor@champion")
    assert (found.name, found.version, found.path) == ("actor", 1, home.root / "model")
    assert registry.decision("actor", 1) == "promoted"
    assert [entry.version for entry in registry.versions("actor")] == [1]


@pytest.mark.parametrize("where", [pytest.param("database", marks=slow), pytest.param("server", marks=slow)])
def test_homes_keep_runs_and_models_apart(where, request, tmp_path, monkeypatch):
    monkeypatch.setenv(TRACKING_VARIABLE, request.getfixturevalue(where))
    homes = [home_with_a_model(tmp_path / name) for name in ("first", "second")]
    for home in homes:
        everything_logged(home)
    client = connect(homes[0])
    for home in homes:
        experiment = client.get_experiment_by_name(f"spar-{home.identity}")
        assert experiment.tags["spar.home"] == str(home.root)
        runs = client.search_runs([experiment.experiment_id])
        assert [run.info.status for run in runs] == ["FINISHED"]
        assert client.list_artifacts(runs[0].info.run_id)[-1].path == "report.html"
        assert client.get_model_version(f"spar-{home.identity}.actor", "1").description == "A model."
        assert not (home.mlflow / "mlflow.db").exists()
    assert os.environ[TRACKING_VARIABLE] == request.getfixturevalue(where)


def test_what_fails_names_the_place_and_hides_the_password(tmp_path, monkeypatch):
    url = f"postgresql://spar:{PASSWORD}@127.0.0.1:{free_port()}/mlflow"
    monkeypatch.setenv(TRACKING_VARIABLE, url)
    with (
        pytest.raises(StorageError, match=r"(?s)MLflow at postgresql://.*127\.0\.0\.1.* `spar db upgrade`") as failed,
        mlflow_errors(Home(tmp_path)),
    ):
        raise sqlalchemy_error(url)
    assert PASSWORD not in str(failed.value)
    assert PASSWORD not in str(database_finding(url))
    assert "cannot be used" in str(database_finding(url))


def sqlalchemy_error(url: str) -> Exception:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(url).connect()
    except SQLAlchemyError as error:
        return error
    raise AssertionError


def test_a_home_of_its_own_leaves_the_environment_alone(tmp_path, monkeypatch):
    from storage.mlflow_store import experiment_name, point_mlflow_at, registered_name, tracking_uri

    monkeypatch.delenv(TRACKING_VARIABLE, raising=False)
    home = Home(tmp_path)
    assert (experiment_name(home), registered_name(home, "actor")) == ("spar", "actor")
    assert tracking_uri(home).startswith("sqlite:///")
    point_mlflow_at(home)
    assert TRACKING_VARIABLE not in os.environ
