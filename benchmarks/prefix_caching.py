"""What a server's prefix cache saves a refiner whose rewrites go on from the judge's chat.

    python benchmarks/prefix_caching.py [--nodes N] [--rounds N] [--answer TOKENS]

Rewrites asked in requests of their own (`refine: request`) against the judge's chat continued (`refine: continuation`).
A real vLLM server (.venv-vllm, `make vllm`) serves a random Llama of some 13M parameters with the starter's tokenizer.
Per layout, in turns, with texts of their own every round: 5 votes on every node, then 3 rewrites of each, as the search
asks them. The texts are those of the shipped sets `default` (request) and `published` (continuation), with prompts,
responses and critiques of a few hundred words. Cached tokens are the server's own count (/metrics). Printed are medians
over the rounds, and their ratios.
"""

import argparse
import asyncio
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import httpx

from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.vllm_server import SERVED_NAME, VllmServer
from spar_core.prompts import PromptLibrary
from spar_core.records import Message
from spar_core.roles.requests import judge_messages, refine_messages
from spar_core.starter.words import all_words

LAYOUTS = {"request": "default", "continuation": "published"}
WORDS = {"prompt": 120, "response": 350, "critique": 300}  # as long as a real model's are, about
VOTES, REWRITES = 5, 3
CONTEXT = 4096
_BASE = Path(__file__).parents[1] / "spar_core" / "starter" / "base"


class Phase(NamedTuple):
    """The requests of one kind of one round: their tokens as the server counts them, and the time they took."""

    prompt_tokens: int
    cached_tokens: int
    seconds: float


def write_model(folder: Path) -> None:
    """A random model of a size at which reading a prompt takes its time, with the starter's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(_BASE)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(_BASE / name, folder)


def texts(seed: str) -> dict[str, str]:
    """Words at random, so that nodes share nothing but what their requests share."""
    rng, words = random.Random(seed), all_words()
    return {name: " ".join(rng.choices(words, k=count)) for name, count in WORDS.items()}


async def ask(client: httpx.AsyncClient, requests: list[tuple[Message, ...]], n: int, answer: int) -> None:
    """All requests at once."""

    async def one(messages: tuple[Message, ...]) -> None:
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        body = {"model": SERVED_NAME, "messages": turns, "n": n, "max_tokens": answer, "ignore_eos": True}
        (await client.post("v1/chat/completions", json=body)).raise_for_status()

    await asyncio.gather(*map(one, requests))


async def counted(client: httpx.AsyncClient) -> tuple[int, int]:
    """Tokens looked up in the prefix cache so far, and those found there."""
    lines = (await client.get("metrics")).text.splitlines()
    totals = {"vllm:prefix_cache_queries_total": 0, "vllm:prefix_cache_hits_total": 0}
    for name, value in (line.rsplit(" ", 1) for line in lines if line.startswith("vllm:prefix_cache")):
        if (metric := name.partition("{")[0]) in totals:
            totals[metric] += int(float(value))
    queries, hits = totals.values()
    return queries, hits


async def measure(client: httpx.AsyncClient, layout: str, nodes: int, seed: str, answer: int) -> list[Phase]:
    """Votes on every node, then rewrites of every node."""
    library = PromptLibrary.load(LAYOUTS[layout])
    said = [texts(f"{seed}.{node}") for node in range(nodes)]
    votes = [judge_messages(library, entry["prompt"], entry["response"]) for entry in said]
    rewrites = [refine_messages(library, entry["prompt"], entry["response"], entry["critique"]) for entry in said]
    phases = []
    for requests, n in ((votes, VOTES), (rewrites, REWRITES)):
        before, began = await counted(client), time.perf_counter()
        await ask(client, requests, n, answer)
        seconds, after = time.perf_counter() - began, await counted(client)
        phases.append(Phase(after[0] - before[0], after[1] - before[1], seconds))
    return phases


async def compare(url: str, nodes: int, rounds: int, answer: int) -> dict[str, list[list[Phase]]]:
    """Every round of every layout, in turns; a first round of each warms the server up and is not counted."""
    found: dict[str, list[list[Phase]]] = {layout: [] for layout in LAYOUTS}
    async with httpx.AsyncClient(base_url=url.removesuffix("v1"), timeout=600.0, trust_env=False) as client:
        for round_ in range(rounds + 1):
            for layout in sorted(LAYOUTS, reverse=bool(round_ % 2)):
                size = nodes if round_ else 1
                phases = await measure(client, layout, size, f"{layout}.{round_}", answer)
                found[layout] += [phases] if round_ else []
    return found


def table(found: dict[str, list[list[Phase]]]) -> list[str]:
    """Medians over rounds, and continuation over request."""
    lines = [f"{'':10}{'layout':16}{'prompt tokens':>15}{'from the cache':>16}{'seconds':>10}"]
    for place, phase in enumerate(("votes", "rewrites")):
        seconds, read = {}, {}
        for layout, rounds in found.items():
            tokens, cached, took = (
                statistics.median(column) for column in zip(*(r[place] for r in rounds), strict=True)
            )
            seconds[layout], read[layout] = took, tokens - cached
            lines.append(f"{phase:10}{layout:16}{tokens:>15.0f}{cached / tokens:>16.1%}{took:>10.2f}")
        ratio = {name: of["continuation"] / of["request"] for name, of in (("read", read), ("took", seconds))}
        lines.append(f"{phase:10}{'ratio':16}{ratio['read']:>15.2f}{'(tokens read)':>16}{ratio['took']:>10.2f}")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--answer", type=int, default=16, help="tokens of an answer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_model(Path(scratch))
        config = VllmEngineConfig(dtype="float32", max_model_len=CONTEXT, extra_args=("--enforce-eager",))
        server = VllmServer(config, scratch)
        try:
            found = asyncio.run(compare(server.base_url, options.nodes, options.rounds, options.answer))
        finally:
            server.stop()
    sys.stdout.write("".join(f"{line}\n" for line in table(found)))


if __name__ == "__main__":
    main()
