"""Where the other interfaces of a home, MLflow and Prefect, show what `spar view` shows: read without importing either.

Nothing is written, and a home that MLflow or Prefect does not know has no such pages.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from spar_core.records import ModelRole
from storage.addresses import kept_port, shared_mlflow
from storage.home import Home
from storage.ledger import Ledger
from storage.mlflow_store import database_file, experiment_page, model_page, registered_name, trace_page

_RUN = (
    "SELECT r.run_uuid, r.experiment_id FROM runs r JOIN tags n ON n.run_uuid = r.run_uuid AND n.key = 'spar.run_id' "
    "JOIN tags l ON l.run_uuid = r.run_uuid AND l.key = 'spar.level' "
    "LEFT JOIN tags i ON i.run_uuid = r.run_uuid AND i.key = 'spar.iteration' "
    "WHERE r.lifecycle_stage = 'active' AND n.value = ? AND l.value = ? AND coalesce(i.value, '') = ?"
)
_TRACE = (
    "SELECT t.request_id, t.experiment_id FROM trace_info t "
    "JOIN trace_tags n ON n.request_id = t.request_id AND n.key = 'spar.tree_id' "
    "JOIN trace_tags r ON r.request_id = t.request_id AND r.key = 'spar.run_id' WHERE n.value = ? AND r.value = ?"
)
_TAG = "SELECT value FROM tags WHERE run_uuid = ? AND key = ?"


class OtherPages(NamedTuple):
    """Addresses that answer while `spar ui`, or the MLflow or Prefect server that the run used, is open; None: no such
    page."""

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
    """A model version's page in MLflow, the shared server's where there is one; Prefect knows no models."""
    server, port = shared_mlflow(), kept_port(home, "mlflow")
    if server is not None:
        return OtherPages(f"{server}/{model_page(registered_name(home, role), version)}")
    known = port is not None and database_file(home).is_file()
    return OtherPages(f"http://127.0.0.1:{port}/{model_page(role, version)}" if known else None)


def tree_pages(home: Home, run_id: str, tree_id: str) -> OtherPages:
    """A search tree's trace in MLflow, where a run has logged one of it."""
    port = kept_port(home, "mlflow")
    found = None if port is None else _row(home, _TRACE, (tree_id, run_id))
    return OtherPages() if found is None else OtherPages(f"http://127.0.0.1:{port}/{trace_page(found[1], found[0])}")


def _found(home: Home, run_id: str, level: str, iteration: str) -> tuple[str, str, str | None] | None:
    """MLflow's run and experiment, and the address in Prefect that the run was told of."""
    run = _row(home, _RUN, (run_id, level, iteration))
    if run is None:
        return None
    told = _row(home, _TAG, (run[0], "spar.prefect"))
    # Whoever can write to MLflow can write this tag: only a page is linked to.
    page = told[0] if told is not None and str(told[0]).startswith(("http://", "https://")) else None
    return str(run[0]), str(run[1]), page


def _row(home: Home, sql: str, parameters: Sequence[str]) -> tuple[Any, ...] | None:
    """The first row of a query to MLflow's database; None where there is no row, or no database that can be read."""
    place = database_file(home)
    if not place.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro", uri=True, timeout=1)) as database:
            found: tuple[Any, ...] | None = database.execute(sql, parameters).fetchone()
            return found
    except sqlite3.Error:
        return None
