"""A run's report and its links in MLflow, put there when it ends. What goes wrong is a warning: the run is done."""

import logging
from contextlib import closing

from flows.reporting.page import REPORT_FILE, report_of_run
from flows.view.reader import Reader
from storage import places
from storage.addresses import mlflow_page, view_page
from storage.home import Home
from storage.ledger import Ledger
from storage.other_pages import run_pages
from storage.tracking import Tracker
from tasks.runtime import Runtime

_log = logging.getLogger(__name__)


def publish_report(home: Home, run_id: str) -> None:
    """Keep the report of a run as an artifact of its MLflow run, and describe the run and its iterations there."""
    try:
        tracker = Runtime.of(str(home.root)).tracking.tracker
        place = f"{mlflow_page(home, tracker.open_run(run_id), tracker.experiment)}/artifacts/{REPORT_FILE}"
        with closing(Reader(home)) as reader:
            page = report_of_run(reader, run_id)
        tracker.log_page(run_id, REPORT_FILE, page.html)
        _describe(home, run_id, tracker, place)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with showing it, the run is done
        _log.warning("run %s has no new report in MLflow: %s: %s", run_id, type(error).__name__, error)


def _describe(home: Home, run_id: str, tracker: Tracker, report: str) -> None:
    run = {
        "the report": report,
        "its trees, pairs and scores": view_page(home, places.run(run_id)),
        "in Prefect": run_pages(home, run_id).prefect,
    }
    tracker.describe(run_id, _said(home, f"The `spar` run `{run_id}`", run))
    for number in sorted({model.iteration for model in Ledger(home).current_models(run_id)}):
        links = {
            "its trees, pairs and scores": view_page(home, places.iteration(run_id, number)),
            "the run's report": report,
            "in Prefect": run_pages(home, run_id, number).prefect,
        }
        when = "The warm start" if number == 0 else f"Iteration {number}"
        tracker.describe(run_id, _said(home, f"{when} of `{run_id}`", links), number)


def _said(home: Home, what: str, links: dict[str, str | None]) -> str:
    shown = " · ".join(f"[{name}]({link})" for name, link in links.items() if link)
    return f"{what}: {shown} (open while `spar ui --home {home.root}` runs)"
