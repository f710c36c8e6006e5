"""A run's report in MLflow, the links there and in `spar view`; one that cannot be made ends nothing."""

import logging

from starlette.testclient import TestClient

from flows.reporting.publishing import publish_report
from flows.view.app import make_app
from storage import other_pages
from storage.addresses import known_port, view_page
from storage.home import Home
from storage.mlflow_store import connect
from storage.tracking import Tracker
from tests.flows.reporting.grown_home import RUN, Grown, grown_home

_PREFECT = "http://127.0.0.1:4200/runs/flow-run/whole"


def test_mlflow_has_the_report_and_links_and_spar_view_leads_back(tmp_path):
    home = grown_home(tmp_path / "home", [Grown("one", ("a, b", "a and b"), True, 1)])
    tracker = Tracker(home)
    mlflow_run = tracker.open_run(RUN)
    tracker.tag(mlflow_run, "prefect", _PREFECT)

    publish_report(home, RUN)

    client = connect(home)
    assert [file.path for file in client.list_artifacts(mlflow_run) if file.path.endswith(".html")] == ["report.html"]
    kept = client.download_artifacts(mlflow_run, "report.html", str(tmp_path))
    with open(kept, encoding="utf-8") as file:
        assert "Prompt of one" in file.read()
    page = f"http://127.0.0.1:{known_port(home, 'mlflow')}/#/experiments/{tracker.experiment}/runs/{mlflow_run}"
    said = client.get_run(mlflow_run).data.tags["mlflow.note.content"]
    assert f"[the report]({page}/artifacts/report.html)" in said
    assert f"[its trees, pairs and scores]({view_page(home, f'/runs/{RUN}')})" in said
    assert f"[in Prefect]({_PREFECT})" in said

    tracker.tag(mlflow_run, "prefect", "javascript:alert(1)")
    assert other_pages.run_pages(home, RUN) == other_pages.OtherPages(page, None)
    tracker.tag(mlflow_run, "prefect", _PREFECT)
    shown = TestClient(make_app(home), base_url="http://127.0.0.1").get(f"/runs/{RUN}").text
    assert f'<a href="{page}">in MLflow</a>' in shown
    assert f'<a href="{_PREFECT}">in Prefect</a>' in shown


def test_a_home_without_mlflow_has_no_such_pages_and_none_is_made(tmp_path):
    home = grown_home(tmp_path / "home", [])
    assert other_pages.run_pages(home, RUN) == other_pages.OtherPages(None, None)
    known_port(home, "mlflow")
    assert other_pages.version_pages(home, "actor", 1) == other_pages.OtherPages(None, None)
    assert not home.mlflow.exists()


def test_a_model_is_linked_to_on_the_shared_server_under_its_name_there(tmp_path, monkeypatch):
    home = grown_home(tmp_path / "home", [])
    known_port(home, "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://reader:correct-horse@tracking:5000/")
    page = other_pages.version_pages(home, "actor", 2).mlflow
    assert page == f"http://tracking:5000/#/models/spar-{home.identity}.actor/versions/2"


def test_a_database_of_another_kind_is_no_page(tmp_path):
    home = grown_home(tmp_path / "home", [])
    known_port(home, "mlflow")
    home.mlflow.mkdir()
    (home.mlflow / "mlflow.db").write_bytes(b"not a database")
    assert other_pages.run_pages(home, RUN).mlflow is None


def test_a_report_that_cannot_be_made_is_a_warning(tmp_path, caplog):
    home = Home(tmp_path / "home")
    home.settle()
    with caplog.at_level(logging.WARNING):
        publish_report(home, "nobody")
    assert "run nobody has no new report in MLflow: StorageError: no run 'nobody'" in caplog.text
