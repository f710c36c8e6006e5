"""Several servers of one model: who dies is replaced, and what was under way there is answered by the others."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spar_core.engines import vllm_fleet, vllm_server
from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.engines.vllm_fleet import VllmFleet
from spar_core.errors import EngineError, EngineUnavailableError
from spar_core.ports import port_is_free
from spar_core.records import Message
from tests.spar_core.engines.stand_in_server import model_folder, stand_in, starts

Opened = Callable[..., VllmEngine]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Opens engines over two stand-in servers, and closes them in the end."""
    monkeypatch.setattr(vllm_server, "_STOP_S", 1.0)
    monkeypatch.setattr("spar_core.engines.vllm_layout.core_numbers", lambda: [0, 1])
    engines: list[VllmEngine] = []

    def open_engine(mode: str = "", **settings: object) -> VllmEngine:
        common = {"python": stand_in(tmp_path), "log_folder": tmp_path / "logs", "replicas": 2, "max_retries": 1}
        config = VllmEngineConfig.model_validate({**common, "env": {"STAND_IN_MODE": mode}, **settings})
        engines.append(VllmEngine(config, str(model_folder(tmp_path / "model"))))
        return engines[-1]

    yield open_engine
    for engine in engines:
        asyncio.run(engine.close())


async def ask(engine: VllmEngine, count: int) -> list[str]:
    requests = [GenerationRequest((Message("user", f"word {number}"),), Sampling(), number) for number in range(count)]
    answers: list[Generation] = await asyncio.gather(*map(engine.generate, requests))
    return [answer.completions[0].text for answer in answers]


def words(count: int) -> list[str]:
    return [f"WORD {number}" for number in range(count)]


def test_what_a_killed_server_was_asked_is_answered_by_the_other_and_it_comes_back(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = opened("plodding:0.5")
    first, second = engine.fleet.servers

    async def run() -> list[str]:
        asked = asyncio.ensure_future(ask(engine, 12))
        await asyncio.sleep(0.2)
        assert first.pid is not None
        os.killpg(first.pid, signal.SIGKILL)
        return await asked

    assert asyncio.run(run()) == words(12)
    wait_until(lambda: len(engine.fleet.servers) == 2)
    again = next(server for server in engine.fleet.servers if server.port == first.port)
    assert again is not first
    assert again.log != first.log
    assert engine.fleet.servers[1] is second
    wait_until(lambda: engine.capacity == 2 * 256)
    assert f"{first.base_url} has died" in caplog.text
    assert len(starts(tmp_path)) == 3
    assert asyncio.run(ask(engine, 12)) == words(12)


def test_a_server_that_lost_its_engine_is_replaced_too(opened: Opened, tmp_path: Path) -> None:
    engine = opened("first-loses:6")  # it answers six and then nothing but 500, while its process lives on
    assert asyncio.run(ask(engine, 30)) == words(30)
    wait_until(lambda: len(starts(tmp_path)) >= 3)


def test_the_end_of_the_last_server_ends_the_waiting(opened: Opened) -> None:
    engine = opened("plodding:30", max_retries=6)

    async def run() -> None:
        asked = asyncio.ensure_future(ask(engine, 4))
        await asyncio.sleep(0.2)
        for server in engine.fleet.servers:
            assert server.pid is not None
            os.killpg(server.pid, signal.SIGKILL)
        with pytest.raises(EngineUnavailableError, match="has died; its log"):
            await asked
        assert not await engine.is_healthy()

    asyncio.run(run())


def test_one_that_dies_over_and_over_is_given_up_and_the_others_go_on(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vllm_fleet, "MAX_REPLACEMENTS", 1)
    engine = opened()
    doomed, _ = engine.fleet.servers
    for lives in (1, 2):
        wait_until(lambda: len(engine.fleet.servers) == 2)
        (server,) = (one for one in engine.fleet.servers if one.port == doomed.port)
        assert server.pid is not None
        os.killpg(server.pid, signal.SIGKILL)
        wait_until(lambda lives=lives: caplog.text.count("has died") + caplog.text.count("given up") == lives)
    assert len(engine.fleet.servers) == 1
    assert asyncio.run(ask(engine, 4)) == words(4)
    assert engine.capacity == 256
    assert len(starts(tmp_path)) == 3


def test_closing_waits_for_no_replacement_and_leaves_none(opened: Opened, tmp_path: Path) -> None:
    engine = opened()
    first, _ = engine.fleet.servers
    (tmp_path / "stand_in.py").write_text(
        "import time; time.sleep(60)"
    )  # one that is started from now on is never ready
    assert first.pid is not None
    os.killpg(first.pid, signal.SIGKILL)
    wait_until(lambda: len(list((tmp_path / "logs").glob(f"vllm-{first.port}*.log"))) == 2)
    asyncio.run(engine.close())
    assert list((tmp_path / "logs").glob("*.json")) == []
    assert port_is_free(first.port)


def test_where_one_server_does_not_start_none_is_left(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="out of luck"):
        opened("ends")
    assert list((tmp_path / "logs").glob("*.json")) == []


def test_each_server_has_its_own_cores(opened: Opened, tmp_path: Path) -> None:
    opened()
    seen = {file.read_text() for file in tmp_path.glob("cores-*")}
    assert seen == {"0", "1"}


def test_more_servers_than_cores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.replicas is 60"):
        VllmFleet(VllmEngineConfig(replicas=60), str(tmp_path))


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
