"""What asking servers over HTTP costs and bears: local servers in processes of their own that answer after 1 to 5 s.

    python benchmarks/http_engine.py [--part load|shards|bursts] [--baseline]

Parts: client CPU per request by requests in flight, and 4,096 requests at 8 x 256 against the ideal time; 100 shards in
a row (an event loop each) with at most 1,024 open files; bursts of 429. `--baseline` also measures one
`httpx.AsyncClient`, as a client whose cost grows with its connections. CPU is that of this process alone.
"""

import asyncio
import contextlib
import json
import random
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
LEVELS = ((1, 32), (1, 256), (4, 256), (8, 256))


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


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(json.loads(sys.argv[2]))
    else:
        for count, c in LEVELS:
            with servers(count) as urls:
                m = with_engine(urls, c, int(sys.argv[1]) * count * c)
                print(count, c, m, counted(urls), flush=True)
