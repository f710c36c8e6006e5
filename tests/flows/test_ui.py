"""`spar ui`: MLflow's server knows where the home lies today, and ends when `spar ui` does while it still starts."""

import sys

import pytest

from flows.commands import ui
from storage import mlflow_store
from storage.home import Home


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Processes that run in place of MLflow's server, and the homes whose database was opened."""
    made, opened, popen = [], [], ui.subprocess.Popen

    def sleeper(_command, **options):
        made.append(popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return made[-1]

    monkeypatch.setattr(ui.subprocess, "Popen", sleeper)
    monkeypatch.setattr(mlflow_store, "connect", opened.append)
    yield made, opened
    for process in made:
        process.kill()
        process.wait()


def test_an_interruption_while_mlflow_starts_ends_it(tmp_path, monkeypatch, started):
    made, opened = started

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ui.httpx, "get", interrupted)
    home = Home(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ui._start_mlflow(home, 9)
    assert [process.poll() is None for process in made] == [False]
    assert opened == [home]
