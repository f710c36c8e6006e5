import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from storage.home import Home
from tests.integration.command_line import spar

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
