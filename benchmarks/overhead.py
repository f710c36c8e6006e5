"""What orchestration costs: the whole search flow (Prefect, journal, Parquet, manifests) on an engine without latency.

Every prompt gets five answers, each answer five votes, every failing prompt a tree. Two sizes in one run, the larger
ten times the smaller: time per prompt and per tree node, and how peak memory grows.

    python benchmarks/overhead.py [--prompts 5000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from storage.catalog import open_catalog

_CHILD = """
import json, resource, sys, time
from flows.cli import invoke
started = time.perf_counter()
code = invoke(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": time.perf_counter() - started, "peak_mib": peak, "code": code}), file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=5000)
    arguments = parser.parse_args()
    small, large = (measure(arguments.prompts // 10), measure(arguments.prompts))
    header = f"{'':<34}{small['prompts']:>12} prompts{large['prompts']:>12} prompts"
    print(header)
    for name in ("tree_nodes", "stage_seconds", "total_seconds", "ms_per_prompt", "us_per_tree_node", "peak_mib"):
        print(f"{name:<34}{small[name]:>20.1f}{large[name]:>20.1f}")
    print(f"peak memory, 10x prompts: {large['peak_mib'] / small['peak_mib']:.2f}x")
    print(f"seconds, 10x prompts:     {large['stage_seconds'] / small['stage_seconds']:.2f}x")
    print("seconds by stage:", json.dumps(large["stages"]))


def measure(prompts: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = folder / "prompts.jsonl"
        rows.write_text("".join(json.dumps({"prompt": f"Task {i}."}) + "\n" for i in range(prompts)), encoding="utf-8")
        home = folder / "home"
        command = [sys.executable, "-c", _CHILD, "search", "--json"]
        command += [
            "--prompts",
            str(rows),
            "--out",
            str(folder / "out"),
            "--home",
            str(home),
            "--actor",
            "starter",
            "--refiner",
            "starter",
            "--preset",
            "starter",
        ]
        command += ["--set", "engine.kind=scripted", "--set", "engine.script=benchmarks.scripted_world:answer"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        child = json.loads(next(line for line in reversed(done.stderr.splitlines()) if line.startswith('{"seconds"')))
        with open_catalog(home) as catalog:
            nodes = catalog.rows("SELECT count(*) AS n FROM tree_nodes")[0]["n"]
            stages = {row["stage"]: row["seconds"] for row in catalog.rows("SELECT stage, seconds FROM stages")}
    seconds = sum(stages.values())
    return {
        "prompts": prompts,
        "tree_nodes": nodes,
        "stage_seconds": seconds,
        "total_seconds": child["seconds"],
        "ms_per_prompt": 1e3 * seconds / prompts,
        "us_per_tree_node": 1e6 * stages["trees"] / nodes,
        "peak_mib": child["peak_mib"],
        "stages": {name: round(value, 2) for name, value in stages.items()},
    }


if __name__ == "__main__":
    main()
