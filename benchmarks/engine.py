"""How the tree search uses several model servers: scaling, idle time, prefixes, and the published schedule.

    python -m benchmarks.engine [--seats 32] [--trees 30] [--jumping-clock]

The servers are simulated, all in one process of its own: each has so many seats (vLLM's max_num_seqs), a sample holds
one for its tokens times the time of a decoding step, as on a GPU whose batch is full, and what finds no seat queues.
Answers follow from the request's seed, so that a prompt has the same tree in all parts, which is checked. With
--jumping-clock there are no sockets, and a clock that jumps to the next event instead of waiting: what routing and
scheduling alone cost, whatever else the machine does.

scaling: trees in proportion to the replicas, at 1, 2, 4 and 8 of them. On four replicas, with three times as many trees
each: flat: the same requests at once, none waiting for another's answer. prefixes: how often a server has seen the
instruction before, with routing by prefix and without. schedule: one request in flight per process and as many
processes as cores.
"""

import argparse
import asyncio
import contextlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import httpx

from benchmarks.scripted_world import answer
from spar_core.config.method import MethodConfig
from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import ServedSettings
from spar_core.engines.endpoint_router import Endpoint, EndpointRouter
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.throttle import Throttle
from spar_core.hashing import derive_seed, digest
from spar_core.processors import usable_cores
from spar_core.prompts import PromptLibrary
from spar_core.records import Message
from spar_core.roles import Refiner
from spar_core.search import Root, run_trees

REPLICAS = (1, 2, 4, 8)
STEP_S = 0.005  # a decoding step
TOKENS = {"Mend": 250, "Check": 150}  # of a rewrite and of a vote, times 0.5 to 1.5
ANSWER = 200  # of anything else
QUEUED = 1.25  # requests in flight per server, of its seats
FEW, FLAT_TREES = 4, 3  # replicas, and times as many trees per replica, of all parts but the scaling
SCHEDULE_TREES = 6  # per process
JUMPING = False


# The servers: `python -m benchmarks.engine serve REPLICAS SEATS` prints their ports.


class Server:
    def __init__(self, seats: int) -> None:
        self.free = asyncio.Semaphore(seats)
        self.known = set[str]()
        self.counts = {"requests": 0, "known": 0, "tokens": 0}

    async def complete(self, request: Any) -> Any:
        from aiohttp import web

        body = await request.json()
        messages = tuple(Message(entry["role"], entry["content"]) for entry in body["messages"])
        answered = await self.answer(GenerationRequest(messages, Sampling(), body["seed"], body["n"]))
        choices = [
            {"index": index, "message": {"role": "assistant", "content": made.text}, "finish_reason": "stop"}
            for index, made in enumerate(answered.completions)
        ]
        written = sum(made.completion_tokens for made in answered.completions)
        return web.json_response({"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": written}})

    async def answer(self, asked: GenerationRequest) -> Generation:
        prefix = asked.messages[0].content.partition("Answer:")[0]
        self.counts["requests"] += 1
        self.counts["known"] += prefix in self.known
        self.known.add(prefix)
        written = await asyncio.gather(*(self.sample(asked, index) for index in range(asked.n)))
        self.counts["tokens"] += sum(written)
        made = (Completion(answer(asked, index), "stop", tokens) for index, tokens in enumerate(written))
        return Generation(tuple(made), 1)

    async def sample(self, asked: GenerationRequest, index: int) -> int:
        usual = TOKENS.get(asked.messages[0].content.partition(" ")[0], ANSWER)
        tokens = int(usual * (0.5 + derive_seed(asked.seed, "length", index) / 2**32))
        async with self.free:
            await asyncio.sleep(tokens * STEP_S)
        return tokens


async def serve(replicas: int, seats: int) -> None:
    from aiohttp import web

    for _ in range(replicas):
        server, application = Server(seats), web.Application()

        async def counted(_request: Any, server: Server = server) -> Any:
            return web.json_response(server.counts)

        application.router.add_post("/v1/chat/completions", server.complete)
        application.router.add_get("/counted", counted)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # ends with its parent


@contextlib.contextmanager
def servers(replicas: int, seats: int) -> Iterator[list[str]]:
    command = [sys.executable, "-m", "benchmarks.engine", "serve", str(replicas), str(seats)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield [f"http://127.0.0.1:{int(process.stdout.readline())}" for _ in range(replicas)]
    finally:
        process.kill()
        process.wait()


# The same servers without sockets, on a clock that jumps: what only our routing and scheduling cost, on any machine.


class Jumps(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(None if timeout is None else 0)
        if not found and timeout:
            self.now += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


class Simulated:
    model_digest = "weights"

    def __init__(self, replicas: int, seats: int) -> None:
        self.servers = {f"http://{number}/v1": Server(seats) for number in range(replicas)}
        most = int(QUEUED * seats)
        self._router = EndpointRouter([Endpoint(url, Throttle(most, 0.5, 60.0, 0.1)) for url in self.servers])

    async def generate(self, request: GenerationRequest) -> Generation:
        async with self._router.place(prefix=request.prefix) as place:
            place.sent()
            answered = await self.servers[place.endpoint.url].answer(request)
            place.answered()
            return answered

    async def close(self) -> None:
        pass


# The clients.


class Measured(NamedTuple):
    seconds: float
    cpu_seconds: float
    trees: int
    requests: int
    tokens: int
    known: int
    found: dict[str, str]
    """A digest of each tree, by its prompt."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Recorded:
    """Notes what an engine is asked; `prefixes` false: servers are not told what requests share."""

    def __init__(self, engine: Engine, *, prefixes: bool) -> None:
        self.requests: list[GenerationRequest] = []
        self.model_digest = engine.model_digest
        self._engine = engine
        self._prefixes = prefixes

    async def generate(self, request: GenerationRequest) -> Generation:
        self.requests.append(request)
        return await self._engine.generate(request if self._prefixes else replace(request, prefix=""))

    async def close(self) -> None:
        await self._engine.close()


def roots(count: int) -> Iterator[Root]:
    for number in range(count):
        yield Root(f"p{number}", f"Task {number}. Say so.", f"r{number}", f"response {number}", "bad", 0.2, 1, 4)


@contextlib.asynccontextmanager
async def client(urls: list[str], seats: int, prefixes: bool) -> AsyncIterator[Recorded]:
    settings = ServedSettings(max_concurrency=int(QUEUED * seats))
    engine = Recorded(OpenAIEngine(urls, "m", settings, model_digest="weights"), prefixes=prefixes)
    yield engine
    await engine.close()


async def search(engine: Recorded, trees: int, in_flight: int) -> dict[str, str]:
    method = MethodConfig()
    refiner = Refiner(engine, PromptLibrary.load("starter"), method.judging, method.refinement)
    limits = {"max_trees_in_flight": min(in_flight, 2048), "max_requests_in_flight": in_flight}
    results = run_trees(roots(trees), refiner, method.search, 0, **limits)
    return {
        result.tree.prompt_id: digest([replace(result.tree, engine_seconds=0.0), result.nodes, result.votes])
        async for result in results
    }


async def all_at_once(engine: Recorded, requests: list[GenerationRequest]) -> dict[str, str]:
    await asyncio.gather(*map(engine.generate, requests))
    return {}


def counted(urls: list[str]) -> dict[str, int]:
    answers = [httpx.get(f"{url}/counted", trust_env=False).json() for url in urls]
    return {name: sum(each[name] for each in answers) for name in answers[0]}


def measure(replicas: int, seats: int, trees: int, work: Any, *, prefixes: bool = True) -> tuple[Measured, Recorded]:
    if JUMPING:
        return simulate(replicas, seats, trees, work, prefixes)

    async def run(urls: list[str]) -> tuple[float, float, Recorded, dict[str, str]]:
        async with client(urls, seats, prefixes) as engine:
            began, cpu = time.monotonic(), time.process_time()
            found = await work(engine)
            return time.monotonic() - began, time.process_time() - cpu, engine, found

    with servers(replicas, seats) as urls:
        seconds, cpu, engine, found = asyncio.run(run(urls))
        seen = counted(urls)
    return Measured(seconds, cpu, trees, seen["requests"], seen["tokens"], seen["known"], found), engine


def simulate(replicas: int, seats: int, trees: int, work: Any, prefixes: bool) -> tuple[Measured, Recorded]:
    async def run() -> tuple[Simulated, float, Recorded, dict[str, str]]:
        engine = Simulated(replicas, seats)
        recorded = Recorded(engine, prefixes=prefixes)
        found = await work(recorded)
        return engine, asyncio.get_running_loop().time(), recorded, found

    cpu = time.process_time()
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        engine, seconds, recorded, found = runner.run(run())
    seen = {name: sum(one.counts[name] for one in engine.servers.values()) for name in ("requests", "tokens", "known")}
    cpu = time.process_time() - cpu
    return Measured(seconds, cpu, trees, seen["requests"], seen["tokens"], seen["known"], found), recorded


# The parts.


def scaling(seats: int, trees: int) -> dict[str, str]:
    heads = (("replicas", 8), ("trees", 7), ("requests", 10), ("seconds", 9), ("tokens/s", 10), ("of linear", 11))
    print("".join(f"{head:>{width}}" for head, width in (*heads, ("CPU s", 7), ("busy", 7))))
    one = 0.0
    for replicas in REPLICAS:
        count = trees * replicas
        done, _ = measure(replicas, seats, count, lambda engine, count=count: search(engine, count, 4096))
        one = one or done.tokens_per_second
        busy = done.tokens * STEP_S / (done.seconds * seats * replicas)
        print(
            f"{replicas:>8}{count:>7}{done.requests:>10}{done.seconds:>9.1f}{done.tokens_per_second:>10.0f}"
            f"{done.tokens_per_second / one / replicas:>11.2f}{done.cpu_seconds:>7.1f}{busy:>7.2f}",
            flush=True,
        )
    return done.found


def others(seats: int, trees: int, known: dict[str, str]) -> None:
    count = trees * FEW * FLAT_TREES
    tree, asked = measure(FEW, seats, count, lambda engine: search(engine, count, 4096))
    shared = known.keys() & tree.found.keys()
    same = sum(known[prompt] == tree.found[prompt] for prompt in shared)
    print(f"{same} of {len(shared)} trees are the same on {FEW} replicas as on {REPLICAS[-1]}")
    flat, _ = measure(FEW, seats, count, lambda engine: all_at_once(engine, asked.requests))
    ratio = tree.tokens_per_second / flat.tokens_per_second
    print(
        f"flat: {tree.requests} requests of {count} trees on {FEW} replicas, {tree.tokens_per_second:.0f} tokens/s "
        f"in the search, {flat.tokens_per_second:.0f} as one batch: {ratio:.2f}",
        flush=True,
    )
    anywhere, _ = measure(FEW, seats, count, lambda engine: search(engine, count, 4096), prefixes=False)
    print(
        f"prefixes: the server had seen the instruction in {tree.known / tree.requests:.1%} of the requests, "
        f"{anywhere.known / anywhere.requests:.1%} where they are not routed by it; "
        f"{tree.tokens_per_second / anywhere.tokens_per_second:.2f} times the tokens/s",
        flush=True,
    )
    processes = usable_cores()
    few = SCHEDULE_TREES * processes
    slow, _ = measure(FEW, seats, few, lambda engine: search(engine, few, processes))
    ours, theirs = 60 * tree.trees / tree.seconds, 60 * slow.trees / slow.seconds
    print(
        f"schedule: {ours:.1f} trees a minute, {theirs:.1f} with one request in flight in each of {processes} "
        f"processes: {ours / theirs:.1f} times",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seats", type=int, default=32, help="sequences a server computes at once")
    parser.add_argument("--trees", type=int, default=30, help="trees per replica")
    parser.add_argument("--jumping-clock", action="store_true", help="no sockets and no waiting")
    arguments = parser.parse_args()
    global JUMPING
    JUMPING = arguments.jumping_clock
    print(f"{usable_cores()} cores, load {os.getloadavg()[0]:.0f}", flush=True)
    found = scaling(arguments.seats, arguments.trees)
    others(arguments.seats, arguments.trees, found)
    print(f"load {os.getloadavg()[0]:.0f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
