"""How idle model servers are while an iteration is judged and searched, with stages that are asked ahead and without.

    python -m benchmarks.overlap [--replicas 1] [--seats 32] [--prompts 60] [--shard-size 15] [--samples 4]

The servers are those of `benchmarks.engine`: a sample holds a seat for its tokens times the time of a decoding step.
Everything else is a run's own: Prefect, journals, Parquet, the HTTP engine and its router. Idle is the share of seats
times seconds in which no token was written, from the first answer (those cost no time here) to the last tree. Both runs
must come to the same artifacts, and ask no request twice.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.engine import STEP_S, counted, servers
from benchmarks.one_iteration import StageListener, make_iteration
from spar_core.engines.configuration import OpenAIEngineConfig, ScriptedEngineConfig
from spar_core.processors import usable_cores
from storage.artifacts import ArtifactStore
from storage.home import Home


class Measured(NamedTuple):
    judging_s: float
    searching_s: float
    """From the end of the judgements."""
    tokens: int
    requests: int
    idle: float
    artifacts: dict[str, str]


def measure(arguments: argparse.Namespace, folder: Path, *, overlap: bool) -> Measured:
    folder.mkdir()
    rows = (json.dumps({"prompt": f"Task {number}. Say so."}) + "\n" for number in range(arguments.prompts))
    (folder / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")
    settings = [
        "engine.kind=scripted",
        "engine.script=benchmarks.scripted_world:answer",
        "prompts.source=file",
        f"prompts.path={folder / 'prompts.jsonl'}",
        f"prompts.per_iteration={arguments.prompts}",
        f"method.responses.per_prompt={arguments.samples}",
        "method.refiner_data.replay_fraction=0",
        f"orchestration.shard_size={arguments.shard_size}",
        f"orchestration.overlap={str(overlap).lower()}",
    ]
    times: dict[str, float] = {}
    counts: dict[str, dict[str, int]] = {}
    with servers(arguments.replicas, arguments.seats) as urls:

        def began(stage: str) -> None:
            if stage == "responses":
                times["began"], counts["began"] = time.monotonic(), counted(urls)

        def ended(stage: str) -> None:
            times[stage], counts[stage] = time.monotonic(), counted(urls)

        addresses = tuple(f"{url}/v1" for url in urls)
        refiner = OpenAIEngineConfig(
            base_urls=addresses, model="m", model_digest="refiner", max_concurrency=arguments.seats
        )
        engines = {"actor": ScriptedEngineConfig(script="benchmarks.scripted_world:answer"), "refiner": refiner}
        make_iteration(folder / "home", settings, StageListener(began, ended), engines)
    seconds = times["trees"] - times["began"]
    tokens, requests = (counts["trees"][name] - counts["began"][name] for name in ("tokens", "requests"))
    whole, _ = ArtifactStore(Home(folder / "home")).scan()
    return Measured(
        times["judgements"] - times["began"],
        times["trees"] - times["judgements"],
        tokens,
        requests,
        1 - tokens * STEP_S / (seconds * arguments.seats * arguments.replicas),
        {entry.ref.stage: f"{entry.ref.stage_key} {entry.ref.content_digest}" for entry in whole},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--seats", type=int, default=32, help="sequences a server computes at once")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--shard-size", type=int, default=15)
    parser.add_argument("--samples", type=int, default=4, help="answers per prompt")
    arguments = parser.parse_args()
    print(f"{usable_cores()} cores, load {os.getloadavg()[0]:.0f}", flush=True)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, overlap in (("apart", False), ("overlapped", True)):
            made = found[name] = measure(arguments, Path(scratch) / name, overlap=overlap)
            print(
                f"{name}: judgements {made.judging_s:.1f} s, then trees {made.searching_s:.1f} s, together "
                f"{made.judging_s + made.searching_s:.1f} s; {made.requests} requests, {made.tokens} tokens; "
                f"{made.idle:.1%} of the seats idle",
                flush=True,
            )
    apart, overlapped = found["apart"], found["overlapped"]
    together = [made.judging_s + made.searching_s for made in (apart, overlapped)]
    print(
        f"overlapped / apart: {together[1] / together[0]:.2f} of the seconds, {overlapped.idle / apart.idle:.2f} of "
        f"the idle share; {'the same' if apart.artifacts == overlapped.artifacts else 'NOT THE SAME'} artifacts; "
        f"load {os.getloadavg()[0]:.0f}"
    )


if __name__ == "__main__":
    main()
