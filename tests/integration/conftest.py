import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.home import Home
from tests.integration.command_line import spar
from tests.integration.deployments import prefect, running_worker

SMOKE = ("run", "--preset", "smoke", "--json")


@dataclass(frozen=True)
class SmokeRun:
    """The smoke preset, run once for all tests that only look at it."""

    home: Home
    process: "subprocess.CompletedProcess[str]"

    @property
    def printed(self) -> dict[str, Any]:
        return json.loads(self.process.stdout)

    @property
    def run_id(self) -> str:
        return self.printed["run_id"]


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> SmokeRun:
    folder: Path = tmp_path_factory.mktemp("smoke")
    process = spar(*SMOKE, "--home", folder / "home")
    assert process.returncode == 0, process.stderr[-4000:]
    return SmokeRun(Home(folder / "home"), process)


@pytest.fixture(scope="session")
def deployed(prefect_server: str) -> str:
    """The deployments of prefect.yaml on the shared server; nothing starts by a schedule in a test."""
    prefect("work-pool", "create", "local", "--type", "process")
    return prefect("--no-prompt", "deploy", "--all")


@pytest.fixture(scope="module")
def worker(deployed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The log of a worker; the scripted model writes what it is asked into `asked.log` beside it."""
    folder = tmp_path_factory.mktemp("worker")
    with running_worker(folder, SCRIPT_LOG=str(folder / "asked.log"), SCRIPT_MODEL="any") as log:
        yield log
