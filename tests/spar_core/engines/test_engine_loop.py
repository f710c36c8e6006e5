"""One loop for the process: whoever asks, from whatever event loop, shares connections and limits."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from misbehaving_server import Reply, proper, serving
from openai_requests import ask_one, engine_for, request, texts

from spar_core.engines import openai_engine
from spar_core.engines.engine_loop import engine_loop, on_engine_loop
from spar_core.engines.http_line import HttpLine
from spar_core.errors import EngineError


async def where() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_everyone_is_served_by_the_same_loop() -> None:
    loops = {asyncio.run(on_engine_loop(where())) for _ in range(2)}

    async def from_the_loop_itself() -> asyncio.AbstractEventLoop:
        return await on_engine_loop(where())

    loops.add(asyncio.run(on_engine_loop(from_the_loop_itself())))
    assert loops == {engine_loop()}


def test_cancelling_the_caller_cancels_the_work() -> None:
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def run() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on_engine_loop(work()), 0.05)

    asyncio.run(run())
    assert cancelled.wait(5)


def test_concurrency_is_bounded_over_all_event_loops() -> None:
    def slowly(body: dict[str, Any], call: int) -> Reply:
        time.sleep(0.02)
        return proper(body)

    with serving(slowly) as server:
        engine = engine_for(server.url, max_concurrency=4)

        async def ask_ten() -> None:
            await asyncio.gather(*(engine.generate(request(seed=seed)) for seed in range(10)))

        shards = [threading.Thread(target=lambda: asyncio.run(ask_ten())) for _ in range(3)]
        for shard in shards:
            shard.start()
        for shard in shards:
            shard.join()
        asyncio.run(engine.close())
        assert len(server.requests) == 30
        assert server.peak == 4


def test_shards_one_after_another_share_their_connections_and_leave_nothing() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with serving() as server:
        engine = engine_for(server.url, max_concurrency=8)
        counts = []
        for shard in range(12):

            async def ask_some(shard: int = shard) -> None:
                await asyncio.gather(*(engine.generate(request(seed=seed)) for seed in range(20)))

            asyncio.run(ask_some())
            counts.append(descriptors())
        assert max(counts[1:]) - counts[0] <= 2 * 8  # client's and server's ends of at most 8 connections
        asyncio.run(engine.close())
        assert len(server.requests) == 240


def test_closing_fails_what_is_being_asked_and_what_waits() -> None:
    entered = threading.Event()
    release = threading.Event()

    def hanging(body: dict[str, Any], call: int) -> Reply:
        entered.set()
        release.wait(10)
        return proper(body)

    with serving(hanging) as server:
        engine = engine_for(server.url, max_concurrency=1, timeout_s=30)

        async def run() -> list[Any]:
            asked = [asyncio.ensure_future(engine.generate(request(seed=seed))) for seed in range(3)]
            await asyncio.to_thread(entered.wait, 10)
            await engine.close()
            return await asyncio.gather(*asked, return_exceptions=True)

        results = asyncio.run(run())
        release.set()
    assert [type(result) for result in results] == [EngineError] * 3
    assert all("closed" in str(result) for result in results)


def test_closing_after_a_caller_went_away_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    entered, release = threading.Event(), threading.Event()

    def hanging(body: dict[str, Any], call: int) -> Reply:
        entered.set()
        release.wait(10)
        return proper(body)

    with serving(hanging) as server:
        engine = engine_for(server.url, timeout_s=30)

        async def run() -> None:
            asked = asyncio.ensure_future(engine.generate(request()))
            await asyncio.to_thread(entered.wait, 10)
            engine_loop().call_soon_threadsafe(time.sleep, 0.1)  # until both have been said
            asked.cancel()
            await asyncio.sleep(0)
            await engine.close()
            with pytest.raises(asyncio.CancelledError):
                await asked

        asyncio.run(run())
        release.set()
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_closing_while_the_first_request_opens_the_connections_closes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    opening, go_on = threading.Event(), threading.Event()

    def slow_line(*arguments: Any) -> HttpLine:
        opening.set()
        go_on.wait(10)
        return HttpLine(*arguments)

    monkeypatch.setattr(openai_engine, "HttpLine", slow_line)
    with serving() as server, ThreadPoolExecutor(2) as callers:
        engine = engine_for(server.url)
        asked = callers.submit(lambda: asyncio.run(engine.generate(request())))
        assert opening.wait(10)
        closed = callers.submit(lambda: asyncio.run(engine.close()))
        while not engine._closed:
            time.sleep(0.001)
        go_on.set()
        closed.result(10)
        assert isinstance(asked.exception(10), EngineError)
    assert engine._line is None


def test_an_abandoned_request_gives_its_place_back() -> None:
    release = threading.Event()

    def hanging_at_first(body: dict[str, Any], call: int) -> Reply:
        if call == 0:
            release.wait(10)
        return proper(body)

    with serving(hanging_at_first) as server:
        engine = engine_for(server.url, max_concurrency=1, timeout_s=30)

        async def run() -> list[str]:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(engine.generate(request()), 0.2)
            answer = await asyncio.wait_for(engine.generate(request(seed=5)), 5)
            await engine.close()
            return texts(answer)

        assert asyncio.run(run()) == ["hi/5"]
        release.set()


def test_a_forked_process_has_a_loop_and_connections_of_its_own() -> None:
    script = """
import asyncio, os, sys
sys.path.insert(0, "tests/spar_core/engines")
from openai_requests import engine_for, request, texts
engine = engine_for(sys.argv[1])
before = texts(asyncio.run(engine.generate(request(seed=1))))
child = os.fork()
if child == 0:
    after = texts(asyncio.run(asyncio.wait_for(engine.generate(request(seed=2)), 10)))
    os._exit(0 if after == ["hi/2"] else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or before != ["hi/1"])
"""
    with serving() as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.url], timeout=60, check=False, capture_output=True, text=True
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_process_can_close_an_engine_that_was_being_asked() -> None:
    script = """
import asyncio, os, sys, threading
sys.path.insert(0, "tests/spar_core/engines")
from openai_requests import engine_for, request
engine = engine_for(sys.argv[1])
threading.Thread(target=lambda: asyncio.run(engine.generate(request())), daemon=True).start()
while not engine.stats.calls:
    pass
child = os.fork()
if child == 0:
    asyncio.run(asyncio.wait_for(engine.close(), 10))
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    release = threading.Event()

    def hanging(body: dict[str, Any], call: int) -> Reply:
        release.wait(20)
        return proper(body)

    with serving(hanging) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.url], timeout=60, check=False, capture_output=True, text=True
        )
        release.set()
    assert (done.returncode, done.stderr) == (0, "")


def test_an_engine_on_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving() as server:
        engine = engine_for(server.url)
        assert engine.model_digest
        assert texts(ask_one(engine)) == ["hi/10"]
