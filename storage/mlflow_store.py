"""Where MLflow keeps what it is told of a home, without MLflow's process-wide state.

A home has an SQLite database of its own, unless MLFLOW_TRACKING_URI names a server (`http://host:5000`) or a database
(`postgresql://host/mlflow`). Those are shared by many homes, so that a home has an experiment and models of its own
name there. MLflow takes seconds to import: lazily.
"""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spar_core.errors import StorageError
from spar_core.secrets import redacted_text
from storage.disk import disk_errors
from storage.home import Home

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "spar"
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
"""Environment variable that names a server or database shared by many homes; MLflow's own."""
_DATABASE = "mlflow.db"
_PLACES = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
_LOCK_WAIT_SECONDS = 60
METRICS_PER_CALL = 1000  # MLflow's limit
_NOT_IN_NAMES = re.compile(r"[^\w .:/-]")
_NO_SPACE = ("no space left", "disk is full")
DRIVER = "pip install 'spar[postgresql]'"
"""How the driver of a shared database is installed."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


def mlflow_name(name: str) -> str:
    """`name` with every character that MLflow does not take in names as `_`."""
    return _NOT_IN_NAMES.sub("_", name)


def shared_uri() -> str | None:
    """The server or database that MLFLOW_TRACKING_URI names; None where every home has its own."""
    return os.environ.get(TRACKING_VARIABLE, "").strip() or None


def is_tracking_server(uri: str) -> bool:
    """Whether an MLflow server is asked, which keeps the database and the files of runs; else a database directly."""
    return uri.startswith(("http://", "https://"))


def database_file(home: Home) -> Path:
    """Where the home's own database lies, whether it is there or not."""
    return home.mlflow / _DATABASE


def tracking_uri(home: Home) -> str:
    """Where MLflow finds the tracking data and the registry of a home: what clients and servers are given. It may hold
    a password: it is never shown, and handed to processes in their environment."""
    # SQLite: whoever finds the database locked waits, since a server may hold its write lock for a while.
    return shared_uri() or f"sqlite:///{database_file(home)}?timeout={_LOCK_WAIT_SECONDS}"


def experiment_name(home: Home) -> str:
    """The experiment that holds every run of a home.

    Raises:
        StorageError: the database is shared, and the home has no id yet.
    """
    return EXPERIMENT if shared_uri() is None else f"{EXPERIMENT}-{home.identity}"


def registered_name(home: Home, name: str) -> str:
    """What MLflow calls a model or a prompt that the home calls `name`; raises as `experiment_name`."""
    return name if shared_uri() is None else f"{experiment_name(home)}.{name}"


def point_mlflow_at(home: Home) -> None:
    """Set MLflow's process-wide address, through which its stores look some things up, to the home's.

    MLflow writes it into the environment too; what the user has set there stays.
    """
    import mlflow

    users = os.environ.get(TRACKING_VARIABLE)
    mlflow.set_tracking_uri(tracking_uri(home))
    if users is None:
        os.environ.pop(TRACKING_VARIABLE, None)


def artifact_root(home: Home) -> str:
    """Where MLflow keeps the few files that belong to runs."""
    return (home.mlflow / "artifacts").as_uri()


def connect(home: Home) -> "MlflowClient":
    """A client of the home's database or server; a database is set up (seconds) on first use.

    Raises:
        StorageError: the database cannot be opened.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    uri = tracking_uri(home)
    if not is_tracking_server(uri):
        with disk_errors(home.mlflow):
            home.mlflow.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it reports is raised too
    for noisy in ("mlflow.tracking._model_registry.client", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with mlflow_errors(home):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if shared_uri() is None:
            known = client.get_experiment_by_name(EXPERIMENT)
            if known is not None and known.artifact_location != artifact_root(home):
                _move_files(home, known.artifact_location)
    return client


def upgrade_database(home: Home) -> None:
    """Create the tables of the database behind `tracking_uri`, or bring them to this version of MLflow.

    Raises:
        StorageError: the database cannot be reached or upgraded.
    """
    if shared_uri() is None:
        home.settle()
        with disk_errors(home.mlflow):
            home.mlflow.mkdir(parents=True, exist_ok=True)
    from mlflow.db import upgrade

    with mlflow_errors(home):
        upgrade.callback(tracking_uri(home))  # not as a command, whose arguments everybody on the machine reads


def database_finding(uri: str) -> str | None:
    """What keeps workers from using a shared database: a sentence with its remedy; None where nothing does."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri)
        with engine.connect() as connection:
            ready = inspect(connection).has_table("experiments")
        engine.dispose()
    except ImportError:
        return f"the database's driver is not installed: {DRIVER}"
    except SQLAlchemyError as error:
        return (
            f"the database cannot be used ({redacted_text(str(error)).splitlines()[0]}): start it, or correct the URL"
        )
    return None if ready else "the database has no tables yet: run `spar db upgrade` once"


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
    """The id of `experiment_name`; created on first use, with its files in the home unless a server keeps them."""
    name = experiment_name(home)
    files = None if is_tracking_server(tracking_uri(home)) else artifact_root(home)
    with mlflow_errors(home):
        known = client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        tags = {} if shared_uri() is None else {"spar.home": str(home.root)}
        return str(client.create_experiment(name, artifact_location=files, tags=tags))


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
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError) as error:
        shared = shared_uri()
        if isinstance(error, ImportError):
            if shared is None:
                raise
            raise StorageError(
                f"{TRACKING_VARIABLE} names a database whose driver is not installed: {DRIVER}"
            ) from error
        if any(word in str(error).lower() for word in _NO_SPACE):
            raise StorageError(
                f"no space left on the disk while writing MLflow's database in {home.mlflow}; free some space (or "
                "point --home at another disk) and run again: finished work is kept"
            ) from error
        place = f"MLflow's database in {home.mlflow}" if shared is None else f"MLflow at {redacted_text(shared)}"
        raise StorageError(
            f"{place} failed: {redacted_text(str(error))}; if another MLflow version wrote it, run `spar db upgrade`, "
            "else run again"
        ) from error
