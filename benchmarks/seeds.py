"""What seeds in requests cost a vLLM server: the same requests with `engine.send_seed` on and off, in turns.

    python benchmarks/seeds.py [--requests N] [--rounds N] [--votes N] [--tokens N]

A real vLLM server (.venv-vllm, `make vllm`) serves a random Llama of some 13M parameters (that of prefix_caching.py).
A round asks `requests` chats at once for `votes` completions each, of exactly `tokens` tokens. Printed are medians over
the rounds and their ratio.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from prefix_caching import CONTEXT, texts, write_model

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import ServedSettings, VllmEngineConfig
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.vllm_server import SERVED_NAME, VllmServer
from spar_core.records import Message


async def seconds(engine: OpenAIEngine, round_: str, requests: int, votes: int, sampling: Sampling) -> float:
    """How long one round takes; no two requests share a text."""
    asked = [
        GenerationRequest((Message("user", texts(f"{round_}.{number}")["prompt"]),), sampling, number, votes)
        for number in range(requests)
    ]
    began = time.perf_counter()
    await asyncio.gather(*map(engine.generate, asked))
    return time.perf_counter() - began


async def compare(url: str, options: argparse.Namespace) -> dict[bool, list[float]]:
    """Seconds of every round with and without seeds; a first round of each warms the server up and is not counted."""
    engines = {
        seeded: OpenAIEngine(
            (url,),
            SERVED_NAME,
            ServedSettings(send_seed=seeded, extra_body={"ignore_eos": True}),
            model_digest="random",
        )
        for seeded in (True, False)
    }
    found: dict[bool, list[float]] = {True: [], False: []}
    sampling = Sampling(0.7, 1.0, options.tokens)
    for round_ in range(options.rounds + 1):
        for seeded in sorted(engines, reverse=bool(round_ % 2)):
            took = await seconds(engines[seeded], f"{seeded}.{round_}", options.requests, options.votes, sampling)
            found[seeded] += [took] if round_ else []
    for engine in engines.values():
        await engine.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--votes", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_model(Path(scratch))
        config = VllmEngineConfig(dtype="float32", max_model_len=CONTEXT, extra_args=("--enforce-eager",))
        server = VllmServer(config, scratch)
        try:
            found = asyncio.run(compare(server.base_url, options))
        finally:
            server.stop()
    written = options.requests * options.votes * options.tokens
    speeds = {seeded: written / statistics.median(took) for seeded, took in found.items()}
    for seeded, speed in speeds.items():
        spread = ", ".join(f"{took:.2f}" for took in found[seeded])
        sys.stdout.write(f"{'with seeds' if seeded else 'without':12}{speed:>8.0f} tokens/s   seconds: {spread}\n")
    sys.stdout.write(f"{'ratio':12}{speeds[False] / speeds[True]:>8.2f}\n")


if __name__ == "__main__":
    main()
