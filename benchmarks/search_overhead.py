"""What the search costs beside the model: time per tree node and peak memory, on an engine without latency.

    python benchmarks/search_overhead.py [--trees 5000]

Each size runs in its own process, so that its peak memory is its own. The scripted answers are short, so the
figures are those of the search, the scheduler, parsing, voting and hashing.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time

from spar_core.config.method import MethodConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.prompts import PromptLibrary
from spar_core.roles import Refiner, format_rewrite
from spar_core.search import Root, run_trees

YES_OF_EIGHT = 2  # about one child in ten is accepted, so most trees reach depth 2 or 3


def answer(request: GenerationRequest, index: int) -> str:
    if request.messages[0].content.startswith("Mend"):
        return format_rewrite(f"answer {request.seed} {index}", "changed")
    yes = (request.seed >> (3 * index)) % 8 < YES_OF_EIGHT
    return f"Items four: met.\nFinal verdict: {'YES' if yes else 'NO'}"


def roots(count: int):
    for i in range(count):
        yield Root(f"p{i}", f"task {i}", f"r{i}", f"response {i}", "Final verdict: NO", 0.2, 1, 4)


async def measure(trees: int, in_flight: int) -> dict[str, float]:
    method = MethodConfig()
    refiner = Refiner(
        ScriptedEngine(answer, log=False), PromptLibrary.load("starter"), method.judging, method.refinement
    )
    nodes = requests = 0
    wall, cpu = time.perf_counter(), time.process_time()
    async for result in run_trees(roots(trees), refiner, method.search, 0, max_trees_in_flight=in_flight):
        nodes += result.tree.nodes_expanded
        requests += len(result.votes)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "trees": trees,
        "nodes": nodes,
        "votes": requests,
        "us_per_node_wall": wall / nodes * 1e6,
        "us_per_node_cpu": cpu / nodes * 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_own_process(trees: int, in_flight: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--trees", str(trees), "--in-flight", str(in_flight), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=5000)
    parser.add_argument("--in-flight", type=int, default=2048)
    parser.add_argument("--json", action="store_true", help="measure this size in this process and print JSON")
    arguments = parser.parse_args()
    if arguments.json:
        print(json.dumps(asyncio.run(measure(arguments.trees, arguments.in_flight))))
        return
    one = in_own_process(arguments.trees, arguments.in_flight)
    ten = in_own_process(10 * arguments.trees, arguments.in_flight)
    print(f"{'trees':>8} {'nodes':>9} {'us/node wall':>13} {'us/node cpu':>12} {'peak MB':>8}")
    for row in (one, ten):
        print(
            f"{row['trees']:>8} {row['nodes']:>9} {row['us_per_node_wall']:>13.1f} "
            f"{row['us_per_node_cpu']:>12.1f} {row['peak_mb']:>8.1f}"
        )
    print(f"peak memory, ten times the trees: x{ten['peak_mb'] / one['peak_mb']:.2f}")


if __name__ == "__main__":
    main()
