"""Where the other interfaces of a home, MLflow and Prefect, show what `spar view` shows: read without importing either.

Nothing is written, and a home that MLflow or Prefect does not know has no such pages.
"""

import sqlite3
from contextlib import closing
from typing import NamedTuple

from spar_core.records import ModelRole
from storage.addresses import kept_port
from storage.home import Home
from storage.ledger import Ledger
from storage.mlflow_store import database_file, experiment_page, model_page

_RUN = (
    "SELECT r.run_uuid, r.experiment_id FROM runs r JOIN tags n ON n.run_uuid = r.run_uuid AND n.key = 'spar.run_id' "
    "JOIN tags l ON l.run_uuid = r.run_uuid AND l.key = 'spar.level' "
    "LEFT JOIN tags i ON i.run_uuid = r.run_uuid AND i.key = 'spar.iteration' "
    "WHERE r.lifecycle_stage = 'active' AND n.value = ? AND l.value = ? AND coalesce(i.value, '') = ?"
)
_TAG = "SELECT value FROM tags WHERE run_uuid = ? AND key = ?"


class OtherPages(NamedTuple):
    """Addresses that answer while `spar ui`, or the Prefect server that the run used, is open; None: no such page."""

    mlflow: str | None = None
    prefect: str | None = None


def run_pages(home: Home, run_id: str, iteration: int | None = None) -> OtherPages:
    """A run's pages, or those of one of its iterations."""
    port = kept_port(home, "mlflow")
    run = _found(home, run_id, "run", "")
    if run is None:
        return OtherPages()
    mlflow_run, experiment, told = run
    if iteration is not None:
        own = _found(home, run_id, "iteration", str(iteration))
        mlflow_run = mlflow_run if own is None else own[0]
        start = Ledger(home).start(run_id, iteration)
        flow_run = None if start is None else start.flow_run
        if told and flow_run:
            told = f"{told.rpartition('/')[0]}/{flow_run}"
    page = None if port is None else f"http://127.0.0.1:{port}/{experiment_page(experiment, mlflow_run)}"
    return OtherPages(page, told)


def version_pages(home: Home, role: ModelRole, version: int) -> OtherPages:
    """A model version's page in MLflow; Prefect knows no models."""
    port = kept_port(home, "mlflow")
    known = port is not None and database_file(home).is_file()
    return OtherPages(f"http://127.0.0.1:{port}/{model_page(role, version)}" if known else None)


def _found(home: Home, run_id: str, level: str, iteration: str) -> tuple[str, str, str | None] | None:
    """MLflow's run and experiment, and the address in Prefect that the run was told of."""
    place = database_file(home)
    if not place.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
            run = database.execute(_RUN, (run_id, level, iteration)).fetchone()
            if run is None:
                return None
            told = database.execute(_TAG, (run[0], "spar.prefect")).fetchone()
    except sqlite3.Error:
        return None
    # Whoever can write to MLflow can write this tag: only a page is linked to.
    page = told[0] if told is not None and str(told[0]).startswith(("http://", "https://")) else None
    return str(run[0]), str(run[1]), page
