"""The MLflow database of a home, without MLflow's process-wide state. MLflow takes seconds to import: lazily."""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spar_core.errors import StorageError
from storage.disk import disk_errors
from storage.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "spar"
_DATABASE = "mlflow.db"
_PLACES = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
_LOCK_WAIT_SECONDS = 60  # a server on the same database may hold SQLite's write lock for a while
METRICS_PER_CALL = 1000  # MLflow's limit
_NOT_IN_NAMES = re.compile(r"[^\w .:/-]")
_NO_SPACE = ("no space left", "disk is full")
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


def mlflow_name(name: str) -> str:
    """`name` with every character that MLflow does not take in names as `_`."""
    return _NOT_IN_NAMES.sub("_", name)


def database_file(home: Home) -> Path:
    """Where the database lies, whether it is there or not."""
    return home.mlflow / _DATABASE


def tracking_uri(home: Home) -> str:
    """Where MLflow finds the tracking data and the registry of a home: what clients and servers are given."""
    return f"sqlite:///{database_file(home)}?timeout={_LOCK_WAIT_SECONDS}"


def artifact_root(home: Home) -> str:
    """Where MLflow keeps the few files that belong to runs."""
    return (home.mlflow / "artifacts").as_uri()


def connect(home: Home) -> "MlflowClient":
    """A client of the home's database, which is created (seconds) on first use.

    Raises:
        StorageError: the database cannot be opened.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with disk_errors(home.mlflow):
        home.mlflow.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it reports is raised too
    for noisy in ("mlflow.tracking._model_registry.client", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    uri = tracking_uri(home)
    with mlflow_errors(home):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is not None and known.artifact_location != artifact_root(home):
            _move_files(home, known.artifact_location)
    return client


def _move_files(home: Home, old_root: str) -> None:
    """Say where a moved or copied home keeps its files now; MLflow knows absolute places and no way to change them."""
    new_root = artifact_root(home)
    with closing(sqlite3.connect(database_file(home), timeout=_LOCK_WAIT_SECONDS)) as database, database:
        for table, column in _PLACES:
            if not database.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone():
                continue  # a version of MLflow without this column
            inside = f"{column} = ? OR substr({column}, 1, ?) = ?"
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {inside}",
                (new_root, len(old_root) + 1, old_root, len(old_root) + 1, f"{old_root}/"),
            )


def experiment_id(client: "MlflowClient", home: Home) -> str:
    """The id of the experiment that holds every run of a home; created on first use."""
    with mlflow_errors(home):
        known = client.get_experiment_by_name(EXPERIMENT)
        if known is not None:
            return str(known.experiment_id)
        return str(client.create_experiment(EXPERIMENT, artifact_location=artifact_root(home)))


def experiment_page(experiment: str, mlflow_run: str) -> str:
    """Address of a run within MLflow's UI."""
    return f"#/experiments/{experiment}/runs/{mlflow_run}"


def model_page(name: str, version: int) -> str:
    """Address of a model version within MLflow's UI."""
    return f"#/models/{name}/versions/{version}"


def trace_page(experiment: str, trace: str) -> str:
    """Address of a trace within MLflow's UI."""
    return f"#/experiments/{experiment}/traces?selectedEvaluationId={trace}&traceId={trace}&startTimeLabel=ALL"


@contextmanager
def mlflow_errors(home: Home) -> Iterator[None]:
    """Turn what MLflow and its database raise into a StorageError.

    Raises:
        StorageError: the block raised an MlflowException or a database error.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        if any(word in str(error).lower() for word in _NO_SPACE):
            raise StorageError(
                f"no space left on the disk while writing MLflow's database in {home.mlflow}; free some space (or "
                "point --home at another disk) and run again: finished work is kept"
            ) from error
        raise StorageError(
            f"MLflow's database in {home.mlflow} failed: {error}; if another MLflow version wrote it, "
            f"run `mlflow db upgrade {tracking_uri(home)}`, else run again"
        ) from error
