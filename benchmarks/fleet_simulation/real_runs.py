"""Real runs of what is simulated: the stages of an iteration as a run calls them, against servers that only wait."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.fleet_simulation.scenario import Scenario

SCENARIO = "scenario.json"
STAGES = ("responses", "judgements", "trees")
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def latency_servers(count: int, scenario: Scenario, folder: Path, seed: int) -> Iterator[list[str]]:
    """Addresses of so many servers, each a process of its own."""
    file = folder / SCENARIO
    file.write_text(scenario.model_dump_json(), encoding="utf-8")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fleet_simulation.latency_server", str(file), str(seed * 1000 + number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        yield [f"http://127.0.0.1:{int(process.stdout.readline())}/v1" for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def measured(scenario: Scenario, replicas: int, seed: int) -> dict[str, float]:
    """Seconds of the stages that ask, over so many replicas, in a process of their own.

    Without any replica a script answers at once: what is measured then is all but the waiting.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = (json.dumps({"prompt": f"Task {number} of {seed}."}) + "\n" for number in range(scenario.method.prompts))
        (folder / "prompts.jsonl").write_text("".join(rows), encoding="utf-8")
        with latency_servers(replicas, scenario, folder, seed) as urls:
            command = [sys.executable, "-m", "benchmarks.fleet_simulation.real_runs", scratch, *urls]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_once(folder: Path, urls: list[str]) -> dict[str, float]:
    """The seconds of each stage that asks, from its start to its artifact."""
    from benchmarks.one_iteration import StageListener, make_iteration
    from spar_core.engines.configuration import OpenAIEngineConfig

    scenario = Scenario.model_validate_json((folder / SCENARIO).read_text(encoding="utf-8"))
    method, driving = scenario.method, scenario.driving
    engine = None
    if urls:
        engine = OpenAIEngineConfig(
            base_urls=tuple(urls), model="m", model_digest="waits", max_concurrency=driving.max_concurrency
        )
    settings = [
        "engine.kind=scripted",
        "engine.script=benchmarks.scripted_world:answer",
        "prompts.source=file",
        f"prompts.path={folder / 'prompts.jsonl'}",
        f"prompts.per_iteration={method.prompts}",
        f"method.responses.per_prompt={method.samples}",
        f"method.judging.votes={method.votes}",
        "method.refiner_data.replay_fraction=0",
        f"orchestration.shard_size={driving.shard_size}",
        f"orchestration.parallel_shards={driving.parallel_shards}",
        f"orchestration.requests_in_flight={driving.requests_in_flight}",
    ]
    began: dict[str, float] = {}
    took: dict[str, float] = {}

    def over(stage: str) -> None:
        took[stage] = time.monotonic() - began[stage]

    listener = StageListener(lambda stage: began.setdefault(stage, time.monotonic()), over)
    make_iteration(folder / "home", settings, listener, engine)
    return {stage: took[stage] for stage in STAGES}


if __name__ == "__main__":
    print(json.dumps(run_once(Path(sys.argv[1]), sys.argv[2:])))
