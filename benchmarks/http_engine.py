"""What asking servers over HTTP costs and bears: local servers in processes of their own that answer after 1 to 5 s.

    python benchmarks/http_engine.py [load] [baseline] [shards] [bursts]

load: client CPU per request by requests in flight, and 4,096 requests at 8 x 256 against the ideal time, which is that
of the same latencies on as many slots. baseline: the CPU of one `httpx.AsyncClient` with as many connections. shards:
100 in a row, an event loop each, with at most 1,024 open files. bursts: servers that bear 64 requests, refuse the
others with 429, and everything for 2 of every 6 seconds. Without a word all of it. CPU is that of this process alone.
"""

import asyncio
import contextlib
import heapq
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import ServedSettings
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.records import Message

PROMPT = "Answer the instruction. " * 80
LATENCY_S = (1.0, 5.0)
LEVELS = ((1, 32, 8), (1, 256, 2), (4, 256, 2), (8, 256, 2))  # servers, requests in flight at each, requests per place
BASELINE_LEVELS = LEVELS[:3]  # the fourth does not end in reasonable time
SHARDS, SHARD_ROWS, OPEN_FILES = 100, 40, 1024
CAPACITY, BURST_ROWS, BURST_LATENCY_S, DOORS_S = 64, 800, (0.5, 1.5), (4.0, 2.0)


# The servers: `python benchmarks/http_engine.py serve '{"latency": [1, 5], ...}'` prints its port.


def serve(options: dict[str, Any]) -> None:
    from aiohttp import web

    draws, state = random.Random(options["seed"]), {"now": 0, "calls": 0, "refused": 0, "began": 0.0}
    text = "A sentence of the answer. " * 40

    def is_closed() -> bool:
        closed = options.get("closed")  # seconds open, seconds closed, by turns, from the first request on
        return bool(closed) and (time.monotonic() - state["began"]) % sum(closed) > closed[0]

    async def complete(request: web.Request) -> web.Response:
        state["began"] = state["began"] or time.monotonic()
        state["calls"] += 1
        body = await request.json()
        if state["now"] >= options.get("capacity", 10**9) or is_closed():
            state["refused"] += 1
            return web.json_response({"error": {"message": "busy"}}, status=429, headers={"Retry-After": "1"})
        state["now"] += 1
        try:
            await asyncio.sleep(draws.uniform(*options["latency"]))
        finally:
            state["now"] -= 1
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index in range(body["n"])
        ]
        usage = {"prompt_tokens": 400, "completion_tokens": 240 * body["n"]}
        return web.json_response({"choices": choices, "usage": usage})

    async def counted(request: web.Request) -> web.Response:
        return web.json_response(state)

    async def run() -> None:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", complete)
        application.router.add_get("/counted", counted)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)  # ends with its parent

    asyncio.run(run())


@contextlib.contextmanager
def servers(count: int, **options: Any) -> Iterator[list[str]]:
    options = {"latency": LATENCY_S, **options}
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "serve", json.dumps({**options, "seed": number})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        yield [f"http://127.0.0.1:{int(process.stdout.readline())}" for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def counted(urls: list[str]) -> dict[str, int]:
    answers = [httpx.get(f"{url}/counted", trust_env=False).json() for url in urls]
    return {name: sum(answer[name] for answer in answers) for name in ("calls", "refused")}


def request(number: int) -> GenerationRequest:
    return GenerationRequest((Message("user", f"{number} {PROMPT}"),), Sampling(0.7, 1.0, 512), number)


# The clients.


class Measured(NamedTuple):
    requests: int
    cpu_ms: float
    seconds: float


async def ask_all(ask: Any, requests: int) -> None:
    await asyncio.gather(*(ask(number) for number in range(requests)))


def measure(work: Any, requests: int) -> Measured:
    cpu, began = time.process_time(), time.monotonic()
    asyncio.run(work)
    return Measured(requests, 1e3 * (time.process_time() - cpu) / requests, time.monotonic() - began)


def with_engine(urls: list[str], concurrency: int, requests: int) -> Measured:
    async def work() -> None:
        engine = OpenAIEngine(urls, "m", ServedSettings(max_concurrency=concurrency), model_digest="weights")
        await ask_all(lambda number: engine.generate(request(number)), requests)
        await engine.close()

    return measure(work(), requests)


def with_httpx(urls: list[str], concurrency: int, requests: int) -> Measured:
    async def work() -> None:
        total = concurrency * len(urls)
        limits = httpx.Limits(max_connections=total, max_keepalive_connections=total)
        room = asyncio.Semaphore(total)

        async def ask(number: int) -> None:
            asked = request(number)
            body = {"model": "m", "messages": [{"role": "user", "content": asked.messages[0].content}], "n": 1}
            async with room:
                answer = await client.post(f"{urls[number % len(urls)]}/v1/chat/completions", json=body)
                answer.raise_for_status().json()

        async with httpx.AsyncClient(limits=limits, timeout=600, verify=False, trust_env=False) as client:
            await ask_all(ask, requests)

    return measure(work(), requests)


def ideal_seconds(servers: int, places: int, requests: int) -> float:
    """When the last answer comes if every place is always taken; the servers draw the same latencies."""
    ends = []
    for number in range(servers):
        draws, free = random.Random(number), [0.0] * places
        for _ in range(requests // servers):
            heapq.heapreplace(free, free[0] + draws.uniform(*LATENCY_S))
        ends.append(max(free))
    return max(ends)


# The parts.


def load() -> None:
    print(f"{'in flight':>10}{'requests':>10}{'CPU ms/request':>16}{'seconds':>9}{'ideal':>7}{'ratio':>7}{'calls':>7}")
    first = 0.0
    for count, places, waves in LEVELS:
        requests = waves * count * places
        with servers(count) as urls:
            done = with_engine(urls, places, requests)
            calls = counted(urls)["calls"]
        ideal, first = ideal_seconds(count, places, requests), first or done.cpu_ms
        print(
            f"{f'{count} x {places}':>10}{requests:>10}{done.cpu_ms:>16.2f}{done.seconds:>9.1f}{ideal:>7.1f}"
            f"{done.seconds / ideal:>7.2f}{calls:>7}",
            flush=True,
        )
    print(f"CPU per request, last over first: {done.cpu_ms / first:.2f}")


def baseline() -> None:
    for count, places, _ in BASELINE_LEVELS:
        with servers(count) as urls:
            done = with_httpx(urls, places, count * places)
        print(f"httpx, {count} x {places}: {done.cpu_ms:.1f} ms of CPU per request, {done.seconds:.1f} s", flush=True)


def shards() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    descriptors = []
    with servers(2, latency=(0.02, 0.05)) as urls:
        engine = OpenAIEngine(urls, "m", ServedSettings(max_concurrency=256), model_digest="weights")
        for _ in range(SHARDS):
            asyncio.run(ask_all(lambda number: engine.generate(request(number)), SHARD_ROWS))
            descriptors.append(len(os.listdir("/proc/self/fd")))
        asyncio.run(engine.close())
        closed = len(os.listdir("/proc/self/fd"))
    marks = [descriptors[place] for place in (0, 9, 49, 99)]
    print(f"open files after 1, 10, 50, 100 shards: {marks}, most {max(descriptors)}, when closed {closed}")


def bursts() -> None:
    for count in (1, 4):
        requests = BURST_ROWS * count
        with servers(count, latency=BURST_LATENCY_S, capacity=CAPACITY, closed=DOORS_S) as urls:
            done = with_engine(urls, 256, requests)
            seen = counted(urls)
        print(
            f"{count} server(s) with bursts of 429: {requests} of {requests} answered in {done.seconds:.0f} s, "
            f"{seen['refused']} refusals, {seen['calls'] / requests:.2f} calls per request",
            flush=True,
        )


def main() -> None:
    parts = {"load": load, "baseline": baseline, "shards": shards, "bursts": bursts}
    wanted = sys.argv[1:] or ["load", "baseline", "bursts", "shards"]
    if unknown := set(wanted) - set(parts):
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}\n{__doc__}")
    with servers(1, latency=(0, 0)) as urls:
        with_engine(urls, 8, 32)  # imports and first connections are no part of any figure
    for name in wanted:
        parts[name]()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(json.loads(sys.argv[2]))
    else:
        main()
