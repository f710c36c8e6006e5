"""How much memory the process that drives a run needs, by the number of prompts and by the trees in flight.

    python benchmarks/driver_memory.py [--prompts 1000 10000 100000] [--trees 10000]

The stages of one iteration as a run calls them (Prefect server and tasks, journals, Parquet, ledger), from reading the
prompts to the training data of both roles, on a scripted engine without latency that writes answers of a real length
(1,500 characters; a vote 600, a prompt 600): 1 sample, 1 vote, trees of one rewrite. Every size runs in a
process of its own; per stage the table has the largest resident memory while it ran, in MiB, beside that of the process
before the first stage. Then one search with all its trees open at once, which an engine that answers none before the
last has asked for holds there.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spar_core.engines.base import Generation, GenerationRequest
from spar_core.roles import format_rewrite

ROOT = Path(__file__).parents[1]
PROMPT_CHARACTERS, ANSWER_CHARACTERS, VOTE_CHARACTERS = 600, 1500, 600
SETTINGS = (
    "engine.kind=scripted",
    "engine.script=benchmarks.driver_memory:answer",
    "prompts.source=file",
    "method.responses.per_prompt=1",
    "method.judging.votes=1",
    "method.judging.quorum=1",
    "method.search.node_budget=1",
    "method.refiner_data.unanimous=true",
    "method.refiner_data.replay_fraction=0",
    "orchestration.shard_size=500",
)
MIB = 1024**2


def answer(request: GenerationRequest, index: int) -> str:
    """As long as a model's answers are; about one vote in four says YES."""
    text, own = request.messages[0].content, f"{request.seed} {index} "
    if text.startswith("Mend"):
        return format_rewrite(lengthened(f"rewrite {own}", ANSWER_CHARACTERS), "It said too little.")
    if text.startswith("Check"):
        verdict = "YES" if (request.seed >> (3 * index)) % 4 == 0 else "NO"
        return f"{lengthened(f'Looked {own}', VOTE_CHARACTERS)}\nFinal verdict: {verdict}"
    return lengthened(f"answer {own}", ANSWER_CHARACTERS)


def lengthened(text: str, characters: int) -> str:
    return (text * (characters // len(text) + 1))[:characters]


# The measured processes.


class Peaks:
    """The largest resident memory since the last look, as the kernel keeps it. Linux alone."""

    def __init__(self) -> None:
        self.by_name: dict[str, float] = {}

    def note(self, name: str) -> None:
        """Enter the peak since the last note under a name, and begin anew."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        if found is None:
            raise SystemExit("this system does not tell a process's peak memory: run it on Linux")
        self.by_name[name] = int(found[1]) / 1024
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def iteration(home: Path, prompts: Path, count: int, settings: list[str]) -> dict[str, Any]:
    """The data of one iteration."""
    from benchmarks.one_iteration import StageListener, make_iteration

    peaks = Peaks()
    given = [*SETTINGS, f"prompts.path={prompts}", f"prompts.per_iteration={count}", *settings]
    first = iter([True])

    def began(stage: str) -> None:
        if next(first, False):
            peaks.note("before")

    made = make_iteration(home, given, StageListener(began, peaks.note))
    nodes = made.trees.rows["tree_nodes"] if made.trees else 0
    return {"prompts": count, "tree_nodes": nodes, "peaks_mib": peaks.by_name}


async def trees_in_flight(trees: int) -> dict[str, Any]:
    """One search of so many trees, each of which waits for its first rewrites until all have asked for theirs."""
    from spar_core.config.method import MethodConfig
    from spar_core.engines.scripted import ScriptedEngine
    from spar_core.prompts import PromptLibrary
    from spar_core.roles import Refiner
    from spar_core.search import Root, run_trees

    method, script = MethodConfig(), ScriptedEngine(answer, log=False)
    all_are_open, state = asyncio.Event(), {"asked": 0, "open": 0, "most": 0}

    class Held:
        """Answers no request before as many were asked as there are trees."""

        model_digest = "held"

        async def generate(self, request: GenerationRequest) -> Generation:
            state["asked"] += 1
            if state["asked"] >= trees:
                all_are_open.set()
            await all_are_open.wait()
            return await script.generate(request)

        async def close(self) -> None:
            return None

    def roots() -> Iterator[Root]:
        texts = {"prompt": PROMPT_CHARACTERS, "response": ANSWER_CHARACTERS, "critique": VOTE_CHARACTERS}
        for number in range(trees):
            prompt, response, critique = (lengthened(f"{name} {number} ", size) for name, size in texts.items())
            state["open"] += 1
            state["most"] = max(state["most"], state["open"])
            yield Root(f"p{number}", prompt, f"r{number}", response, critique, 0.2, 1, 4)

    refiner = Refiner(Held(), PromptLibrary.load("starter"), method.judging, method.refinement)
    peaks, nodes, votes = Peaks(), 0, 0
    peaks.note("before")
    limits = {"max_trees_in_flight": trees, "max_requests_in_flight": trees}
    async for result in run_trees(roots(), refiner, method.search, 0, ordered=True, **limits):
        state["open"] -= 1
        nodes += len(result.nodes)
        votes += len(result.votes)
    peaks.note("trees")
    return {"open": state["most"], "tree_nodes": nodes, "votes": votes, "peaks_mib": peaks.by_name}


# The table.


def in_own_process(*arguments: str) -> dict[str, Any]:
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.driver_memory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": time.monotonic() - began}


def measured_iteration(count: int, settings: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "prompts.jsonl")
        with file.open("w", encoding="utf-8") as rows:
            for number in range(count):
                rows.write(json.dumps({"prompt": lengthened(f"Task {number}. ", PROMPT_CHARACTERS)}) + "\n")
        chosen = [part for value in settings for part in ("--set", value)]
        return in_own_process("--iteration", scratch, "--prompts", str(count), *chosen)


def print_stages(columns: list[dict[str, Any]]) -> None:
    print(f"{'MiB':<16}" + "".join(f"{column['prompts']:>12,}" for column in columns) + f"{'last / first':>14}")
    for stage in columns[0]["peaks_mib"]:
        values = [column["peaks_mib"][stage] for column in columns]
        print(f"{stage:<16}" + "".join(f"{value:>12.0f}" for value in values) + f"{values[-1] / values[0]:>14.2f}")
    for name in ("tree_nodes", "seconds"):
        print(f"{name:<16}" + "".join(f"{column[name]:>12,.0f}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--trees", type=int, default=10_000, help="open at once; 0 leaves that part out")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="key.path=value of a run")
    parser.add_argument("--iteration", help=argparse.SUPPRESS)
    parser.add_argument("--open", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.iteration:
        scratch = Path(chosen.iteration)
        print(json.dumps(iteration(scratch / "home", scratch / "prompts.jsonl", chosen.prompts[0], chosen.settings)))
    elif chosen.open:
        print(json.dumps(asyncio.run(trees_in_flight(chosen.open))))
    else:
        if chosen.prompts:
            print_stages([measured_iteration(count, chosen.settings) for count in chosen.prompts])
        if chosen.trees:
            found = in_own_process("--open", str(chosen.trees))
            print(
                f"{found['open']:,} trees in flight, {found['tree_nodes']:,} nodes, {found['votes']:,} votes in all: "
                f"{found['peaks_mib']['trees']:.0f} MiB at most, {found['peaks_mib']['before']:.0f} before"
            )


if __name__ == "__main__":
    main()
