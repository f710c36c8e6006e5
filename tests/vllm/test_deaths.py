"""Real vLLM servers that are killed, whose owner is killed, and whose start is interrupted."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spar_core.engines.base import Completion, Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.server_guard import read_record
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.hashing import model_digest
from spar_core.ports import port_is_free
from spar_core.processes import mark_runs
from spar_core.records import Message
from spar_core.starter import base_model_dir
from spar_core.starter.world import generate_prompts
from tasks.engines import EnginePool, ModelRef
from tests.vllm.vllm_environment import PYTHON, needs_vllm

pytestmark = needs_vllm(1200)
OWNER = """
import sys, time
from pathlib import Path
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.vllm_server import VllmServer
config = VllmEngineConfig(python=sys.argv[1], cpu_cache_gib=1, extra_args=("--enforce-eager",))
server = VllmServer(config, sys.argv[2], Opening(logs=Path(sys.argv[3]), records=Path(sys.argv[3])))
print(server.port, flush=True)
time.sleep(900)
"""


def test_sigkill_of_the_owner_ends_the_server_within_seconds(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(PYTHON), str(base_model_dir()), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        port = int(owner.stdout.readline())
        time.sleep(3)  # the record follows the server's processes every two seconds
        processes = servers(tmp_path)
        assert len(processes) >= 2  # the server and its engine
    finally:
        killed = time.monotonic()
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(mark_runs, processes)) and port_is_free(port), 15.0)
    record_property("seconds", time.monotonic() - killed)
    wait_until(lambda: list(tmp_path.glob("*.json")) == [], 5.0)
    owner.wait()


def test_a_server_that_is_killed_comes_back_and_every_request_is_answered(tmp_path: Path) -> None:
    config = VllmEngineConfig(python=str(PYTHON), cpu_cache_gib=1, extra_args=("--enforce-eager",), max_concurrency=8)
    model = ModelRef(model_digest(base_model_dir()), str(base_model_dir()))
    pool = EnginePool(logs=tmp_path / "logs", records=tmp_path / "servers")
    prompts = [prompt.text for prompt in generate_prompts(120, 3, "dev")]
    answers: dict[str, Completion] = {}

    def shard(texts: list[str]) -> None:
        async def run() -> None:
            engine = pool.engine(config, model, "stage")

            async def one(text: str) -> None:
                request = GenerationRequest((Message("user", text),), Sampling(0.0, 1.0, 48), 0)
                found: Generation = await engine.generate(request)
                answers[text] = found.completions[0]

            await asyncio.gather(*(one(text) for text in texts))

        asyncio.run(run())

    shards = [threading.Thread(target=shard, args=(prompts[place::2],)) for place in range(2)]
    for one in shards:
        one.start()
    wait_until(lambda: len(answers) >= 5, 300.0)
    (engine,) = (loaded.engine for loaded in pool._open)
    assert isinstance(engine, VllmEngine)
    pid = engine.fleet.servers[0].pid
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)
    assert len(answers) < 120
    for one in shards:
        one.join(600)
    (again,) = (loaded.engine for loaded in pool._open)
    pool.end()
    assert again is not engine
    assert answers.keys() == set(prompts)
    assert all(answer.text for answer in answers.values())
    assert len(list((tmp_path / "logs").iterdir())) == 2
    assert servers(tmp_path / "servers") == []


def test_ctrl_c_while_a_server_starts_is_back_within_twenty_seconds(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    home, prompts = tmp_path / "home", tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Name three birds."}\n', encoding="utf-8")
    command = [sys.executable, "-m", "flows", "search", "--json", "--preset", "starter", "--home", str(home)]
    command += ["--prompts", str(prompts), "--out", str(tmp_path / "out"), "--actor", "starter", "--refiner", "starter"]
    for setting in ("kind=vllm", f"python={PYTHON}", 'extra_args=["--enforce-eager"]'):
        command += ["--set", f"engine.{setting}"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_until(lambda: servers(home / "work" / "servers") != [], 300.0)
        time.sleep(4)
        processes = servers(home / "work" / "servers")
        interrupted = time.monotonic()
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=60)
    finally:
        run.kill()
    seconds = time.monotonic() - interrupted
    record_property("seconds", seconds)
    assert run.returncode == 130, told
    assert "run the same command again to resume" in told
    assert seconds < 20
    assert processes
    assert not any(map(mark_runs, processes))
    assert servers(home / "work" / "servers") == []


def servers(folder: Path) -> list[str]:
    """Marks of the processes of every server recorded in a folder."""
    records: list[dict[str, Any]] = [found for file in folder.glob("*.json") if (found := read_record(file))]
    return [mark for record in records for mark in record["processes"]]


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
