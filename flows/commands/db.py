"""`spar db`: the databases of MLflow and Prefect."""

import os
import subprocess
import sys
from pathlib import Path

import click

from flows.commands.options import home_option, opened
from spar_core.errors import SparError
from storage.home import Home


@click.group()
def db() -> None:
    """Set up the databases of MLflow and Prefect, or bring them up to date."""


@db.command()
@home_option
def upgrade(home: Path | None) -> int:
    """Create the tables of both databases, or bring them to the installed versions'. Once, before workers start.

    They are those of the home, or the ones that MLFLOW_TRACKING_URI (postgresql://...) and
    PREFECT_SERVER_DATABASE_CONNECTION_URL (postgresql+asyncpg://...) name. Back up a database that holds something.

    \b
    Example:
      export MLFLOW_TRACKING_URI=postgresql://spar:$PASSWORD@db/mlflow
      export PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://spar:$PASSWORD@db/prefect
      spar db upgrade
    """
    from storage.mlflow_store import is_tracking_server, tracking_uri, upgrade_database

    where = opened(home)
    if is_tracking_server(tracking_uri(where)):
        click.echo("MLflow: its server keeps the database; `spar db upgrade` where that runs")
    else:
        upgrade_database(where)
        click.echo("MLflow: up to date")
    click.echo(f"Prefect: {_upgrade_prefect(where)}")
    return 0


def _upgrade_prefect(home: Home) -> str:
    from flows.serving.prefect_server import DATABASE_VARIABLE, prepare_environment

    if os.environ.get("PREFECT_API_URL") and not os.environ.get(DATABASE_VARIABLE):
        return "its server keeps the database; `spar db upgrade` where that runs"
    prepare_environment(home)
    home.prefect.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = [line for line in (ended.stdout + ended.stderr).splitlines() if "Error" in line]
        raise SparError(f"Prefect's database cannot be upgraded: {said[-1] if said else 'Prefect gives no reason'}")
    return "up to date"
