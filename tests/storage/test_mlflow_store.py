"""What MLflow's database raises becomes a message that says what to do."""

import sqlite3
from pathlib import Path

import pytest

from spar_core.errors import StorageError
from storage.home import Home
from storage.mlflow_store import mlflow_errors


def test_a_full_disk_is_called_that(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "full.db")
    database.execute("PRAGMA max_page_count = 2")  # SQLite's own words for a disk that takes no more
    database.execute("CREATE TABLE metrics (value TEXT)")
    with (
        pytest.raises(StorageError, match=r"no space left on the disk .* finished work is kept"),
        mlflow_errors(Home(tmp_path / "home")),
    ):
        database.execute("INSERT INTO metrics VALUES (?)", ["x" * 100_000])
    database.close()
