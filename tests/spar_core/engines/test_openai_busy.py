"""Servers that refuse for now (429, 503): nothing is lost, nobody is hammered, patience ends."""

import asyncio
import contextlib
import email.utils
import threading
import time
from typing import Any

import pytest
from misbehaving_server import Behaviour, Reply, proper, serving
from openai_requests import always, ask, ask_one, at_first, engine_for, request, texts

from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError

BUSY = Reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.1"})


def bearing(capacity: int, latency_s: float) -> Behaviour:
    """Answers `capacity` requests at once and refuses the others."""
    room = threading.BoundedSemaphore(capacity)

    def behaviour(body: dict[str, Any], call: int) -> Reply:
        if not room.acquire(blocking=False):
            return BUSY
        try:
            time.sleep(latency_s)
            return proper(body)
        finally:
            room.release()

    return behaviour


def shut_for(seconds: float) -> Behaviour:
    """Refuses everything until so long after its first call."""
    began: list[float] = []

    def behaviour(body: dict[str, Any], call: int) -> Reply:
        began.append(time.monotonic())
        return BUSY if time.monotonic() < began[0] + seconds else proper(body)

    return behaviour


@pytest.mark.parametrize("servers", [1, 4])
def test_a_burst_of_requests_on_servers_that_bear_few_is_answered_with_few_calls(servers: int) -> None:
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(serving(bearing(8, 0.3))) for _ in range(servers)]
        engine = engine_for(*(server.url for server in running), max_wait_s=60)
        count = 100 * servers
        results = ask(engine, *(request(seed=seed) for seed in range(count)))
        calls = sum(len(server.requests) for server in running)
    assert [texts(result) for result in results] == [[f"hi/{seed}"] for seed in range(count)]
    assert count < calls <= 1.3 * count


@pytest.mark.parametrize("servers", [1, 3])
def test_being_put_off_is_no_attempt_however_many_servers_do_it(servers: int) -> None:
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(serving(shut_for(0.8))) for _ in range(servers)]
        engine = engine_for(*(server.url for server in running), max_retries=0, max_wait_s=60)
        results = ask(engine, *(request(seed=seed) for seed in range(20)))
        calls = sum(len(server.requests) for server in running)
    assert [texts(result) for result in results] == [[f"hi/{seed}"] for seed in range(20)]
    # Each server refuses the first 8, and then one per tenth of a second.
    assert calls <= 20 + (8 + 8) * servers


def test_a_busy_server_is_left_alone_while_others_answer() -> None:
    busy = Reply(429, {}, {"Retry-After": "30"})
    with serving(always(busy)) as first, serving() as second:
        results = ask(engine_for(first.url, second.url), *(request(seed=seed) for seed in range(40)))
        assert len(first.requests) <= 8  # what it got before it first refused
    assert [texts(result) for result in results] == [[f"hi/{seed}"] for seed in range(40)]


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_obeyed(as_date: bool, status: int) -> None:
    # An HTTP date has whole seconds, so two seconds ahead leaves at least one.
    value = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "0.3"
    moments: list[float] = []

    def busy_once(body: dict[str, Any], call: int) -> Reply:
        moments.append(time.monotonic())
        return Reply(status, {}, {"Retry-After": value}) if call == 0 else proper(body)

    with serving(busy_once) as server:
        ask_one(engine_for(server.url, max_wait_s=30))
    assert moments[1] - moments[0] >= 0.3


@pytest.mark.parametrize("value", ["86400", "1e999", "Fri, 31 Dec 2399 23:59:59 GMT"])
def test_retry_after_is_bounded(value: str) -> None:
    with serving(at_first(Reply(429, {}, {"Retry-After": value}))) as server:
        assert texts(ask_one(engine_for(server.url, max_pause_s=0.2))) == ["hi/10"]


def test_patience_ends_for_everyone_at_once_and_says_what_to_do() -> None:
    with serving(always(BUSY)) as server:
        began = time.monotonic()
        results = ask(engine_for(server.url, max_wait_s=0.5), *(request(seed=seed) for seed in range(30)))
        assert time.monotonic() - began < 5
        assert len(server.requests) < 45
    assert {type(result) for result in results} == {EngineUnavailableError}
    assert all("max_wait_s" in str(result) and server.url in str(result) for result in results)


def test_a_request_that_alone_is_refused_as_503_is_dropped_for_now() -> None:
    def gateway(body: dict[str, Any], call: int) -> Reply:
        time.sleep(0.05)
        poisoned = body["messages"][-1]["content"] == "poison"
        return Reply(503, {}, {"Retry-After": "0.05"}) if poisoned else proper(body)

    with serving(gateway) as server:
        fine = [request(f"fine {number}") for number in range(40)]
        poisoned, *others = ask(engine_for(server.url, max_wait_s=0.3, max_concurrency=4), request("poison"), *fine)
    assert isinstance(poisoned, RequestRejectedError)
    assert (poisoned.reason, poisoned.permanent) == ("http_503", False)
    assert [texts(result) for result in others] == [[f"fine {number}/10"] for number in range(40)]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(402, {}),
        Reply(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
    ],
)
def test_an_account_without_quota_is_not_waited_for(reply: Reply) -> None:
    with serving(always(reply)) as server:
        with pytest.raises(EngineError, match="quota") as caught:
            ask_one(engine_for(server.url))
        assert not isinstance(caught.value, EngineUnavailableError | RequestRejectedError)
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 504])
def test_time_outs_are_tried_three_times_whoever_says_so(status: int) -> None:
    with serving(always(Reply(status, {}))) as server:
        with pytest.raises(EngineUnavailableError, match="Raise timeout_s"):
            ask_one(engine_for(server.url, max_retries=50))
        assert len(server.requests) == 3


def test_a_request_that_alone_times_out_is_dropped_for_now() -> None:
    def slow(body: dict[str, Any], call: int) -> Reply:
        if body["messages"][-1]["content"] == "long":
            time.sleep(0.6)
        return proper(body)

    with serving(slow) as server:
        fine, long = ask(engine_for(server.url, timeout_s=0.2), request("fine"), request("long"))
    assert texts(fine) == ["fine/10"]
    assert isinstance(long, RequestRejectedError)
    assert (long.reason, long.permanent) == ("timeout", False)


def test_put_off_calls_are_counted() -> None:
    with serving(at_first(BUSY, times=2)) as server:
        engine = engine_for(server.url, max_concurrency=1)
        ask_and_count: list[Any] = []

        async def run() -> None:
            await engine.generate(request())
            ask_and_count.append(engine.stats)
            await engine.close()

        asyncio.run(run())
    (stats,) = ask_and_count
    assert (stats.requests, stats.calls, stats.refusals) == (1, 3, 2)
