"""A model server (a stand-in for vLLM) whose run is interrupted or killed while it starts is gone within seconds."""

import signal
import time
from pathlib import Path

import pytest

from spar_core.engines.server_guard import read_record
from spar_core.processes import mark_runs
from storage.home import Home
from tests.integration.command_line import started
from tests.spar_core.engines.stand_in_server import stand_in, starts


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_starting_server_ends_with_its_run(
    tmp_path: Path, prefect_server: str, number: signal.Signals, code: int
) -> None:
    home, prompts = Home(tmp_path / "home"), tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Name three birds."}\n', encoding="utf-8")
    command = ["search", "--json", "--preset", "starter", "--home", home.root, "--prompts", prompts]
    command += ["--out", tmp_path / "out", "--actor", "starter", "--refiner", "starter"]
    command += ["--set", "engine.kind=vllm", "--set", f"engine.python={stand_in(tmp_path)}"]
    run = started(*command, PREFECT_API_URL=prefect_server, STAND_IN_MODE="slow")
    try:
        deadline = time.monotonic() + 120
        while not starts(tmp_path) or not list(home.servers.glob("*.json")):
            assert run.poll() is None, run.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (record,) = (read_record(file) for file in home.servers.glob("*.json"))
        run.send_signal(number)
        _, told = run.communicate(timeout=120)
        deadline = time.monotonic() + 120
    finally:
        run.kill()
    assert run.returncode == code, told
    assert record is not None
    while any(map(mark_runs, record["processes"])):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert list(home.logs.glob("vllm-*.log"))  # in the home, not in the system's temporary folder
