"""A server that answers as slowly as a replica would.

    python -m benchmarks.fleet_simulation.latency_server SCENARIO.json SEED

A loop of steps over the rows of the batch, as vLLM's is, with the scenario's service times. It computes nothing and
waits for the time each step should end at, so that it is as fast on a busy machine. Prints its port; ends with its
parent.
"""

import asyncio
import sys
from collections import deque
from pathlib import Path
from random import Random

from aiohttp import web

from benchmarks.fleet_simulation.scenario import Scenario
from spar_core.roles import format_rewrite


class _Request:
    def __init__(self, read: int, lengths: list[int]) -> None:
        self.read = read
        self.left = len(lengths)
        self.lengths = lengths
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started = False


class Batch:
    """The rows of one server and the loop that advances them."""

    def __init__(self, scenario: Scenario) -> None:
        self._service = scenario.service
        self._waiting: deque[tuple[int, _Request]] = deque()
        self._running: list[list] = []  # tokens left, request
        self._asked = asyncio.Event()

    async def answer(self, read: int, lengths: list[int]) -> None:
        """Wait until all rows of a request have their tokens."""
        request = _Request(read, lengths)
        self._waiting.extend((tokens, request) for tokens in lengths)
        self._asked.set()
        await request.answered

    async def advance_for_ever(self) -> None:
        """Step after step; sleeps where there is nothing to do."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if not self._running and not self._waiting:
                self._asked.clear()
                await self._asked.wait()
                due = loop.time()
            due += self._fill() + self._service.step(len(self._running))
            await asyncio.sleep(max(0.0, due - loop.time()))
            for row in self._running:
                row[0] -= 1
                if row[0] == 0:
                    row[1].left -= 1
                    if row[1].left == 0 and not row[1].answered.done():
                        row[1].answered.set_result(None)
            self._running = [row for row in self._running if row[0] > 0]

    def _fill(self) -> float:
        """Take rows into the batch; seconds for reading their prompts."""
        read = 0.0
        while self._waiting and len(self._running) < self._service.rows:
            tokens, request = self._waiting.popleft()
            if not request.started:
                request.started = True
                read += request.read * (1 - self._service.reused_prompt) * self._service.prompt_token_s
            self._running.append([tokens, request])
        return read


async def serve(scenario: Scenario, seed: int) -> None:
    """Serve until the parent is gone."""
    batch, random = Batch(scenario), Random(seed)

    async def complete(http: web.Request) -> web.Response:
        body = await http.json()
        text = body["messages"][-1]["content"]
        kind = "rewrite" if text.startswith("Mend") else "vote" if text.startswith("Check") else "answer"
        texts, number = scenario.texts[kind], random.getrandbits(48)
        lengths = [texts.draw(random) for _ in range(body.get("n", 1))]
        await batch.answer(texts.read, lengths)

        def written(index: int) -> str:
            if kind == "rewrite":
                return format_rewrite(f"rewrite {number} {index}")
            if kind == "vote":
                verdict = "YES" if random.random() < scenario.method.yes_votes else "NO"
                return f"Looked at it, {number}.\nFinal verdict: {verdict}"
            return f"answer {number} {index}"

        choices = [
            {"index": index, "message": {"role": "assistant", "content": written(index)}, "finish_reason": "stop"}
            for index in range(len(lengths))
        ]
        usage = {"prompt_tokens": texts.read, "completion_tokens": sum(lengths)}
        return web.json_response({"choices": choices, "usage": usage})

    async def models(http: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})

    application = web.Application()
    application.router.add_post("/v1/chat/completions", complete)
    application.router.add_get("/v1/models", models)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    advancing = asyncio.create_task(batch.advance_for_ever())
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    advancing.cancel()


if __name__ == "__main__":
    asyncio.run(serve(Scenario.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")), int(sys.argv[2])))
