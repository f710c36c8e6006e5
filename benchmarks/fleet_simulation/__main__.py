"""How long a fleet of GPUs takes for an iteration of self-play, how idle it is and how many tokens are lost.

    python -m benchmarks.fleet_simulation [--gpus 10 30 100 300 1000] [--scenario FILE] [--set key.path=value]...
    python -m benchmarks.fleet_simulation --check [--replicas 1 2 4]

The first prints a table: each variant of the scenario on so many GPUs. With --check real runs (the stages as a run
calls them, Prefect and journals included, over HTTP against servers that wait as long as the scenario says) and
simulations of the same are printed side by side; what orchestration takes is measured first, on an engine without
latency. Scenarios: benchmarks/fleet_simulation/scenarios.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.fleet_simulation.fleet import SHAPES, Fleet, Outcome
from benchmarks.fleet_simulation.real_runs import STAGES, measured
from benchmarks.fleet_simulation.scenario import Scenario
from benchmarks.fleet_simulation.tree_shapes import Shape, recorded

SCENARIOS = Path(__file__).parent / "scenarios"
PAPER, SMALL = SCENARIOS / "llama3-8b-h100.yaml", SCENARIOS / "latency-servers.yaml"
MOST_APART = 0.15


def simulated(scenario: Scenario, gpus: int, seed: int, shapes: list[Shape]) -> tuple[Outcome, float]:
    began = time.monotonic()
    return Fleet(scenario, gpus, seed, shapes).run(), time.monotonic() - began


def table(scenario: Scenario, names: list[str], gpus: list[int], seed: int, processes: int) -> None:
    method = scenario.method
    shapes = recorded(SHAPES, method.votes, method.yes_votes, seed)
    print(f"{method.prompts:,} prompts, one iteration, seed {seed}, grain {scenario.grain}")
    print(
        f"{'':<22}{'GPUs':>6}{'hours':>8}{'GPU h':>8}{'speed-up':>10}{'idle':>7}{'batch':>7}{'lost':>9}"
        f"{'driver':>8}{'M tok/s':>9}  seconds by stage"
    )
    with ProcessPoolExecutor(processes) as pool:
        going = {
            (name, count): pool.submit(simulated, scenario.variant(name) if name else scenario, count, seed, shapes)
            for name in names
            for count in gpus
        }
        first: float | None = None
        for (name, count), future in going.items():
            found, _ = future.result()
            hours = found.makespan_s / 3600
            first = first or hours * count
            stages = ", ".join(f"{stage} {seconds:,.0f}" for stage, seconds in found.stage_s.items())
            print(
                f"{name:<22}{count:>6,}{hours:>8.2f}{hours * count:>8,.0f}{first / hours:>10.1f}{found.idle:>7.0%}"
                f"{found.fill:>7.0%}{found.lost:>9.3%}{found.driver_busy:>8.0%}"
                f"{found.tokens / found.makespan_s / 1e6:>9.3f}  {stages}",
                flush=True,
            )


def check(scenario: Scenario, replicas: list[int], seed: int) -> None:
    """Real and simulated seconds; ends with an error where a makespan is further apart than it may be."""
    method = scenario.method
    shapes = recorded(SHAPES, method.votes, method.yes_votes, seed)
    around = sum(measured(scenario, 0, seed).values()) / len(STAGES)
    print(f"orchestration without latency: {around:.1f} s a stage", flush=True)
    scenario = scenario.model_copy(update={"driving": scenario.driving.model_copy(update={"stage_s": around})})
    print(
        f"{'replicas':>8}"
        + "".join(f"{stage + ' real':>18}{'sim.':>7}" for stage in (*STAGES, "all"))
        + f"{'ratio':>7}"
    )
    worst = 0.0
    for count in replicas:
        real = measured(scenario, count, seed)
        stages = simulated(scenario, count, seed, shapes)[0].stage_s
        pairs = [(real[stage], stages[stage]) for stage in STAGES]
        both = tuple(map(sum, zip(*pairs, strict=True)))
        ratio = both[1] / both[0]
        worst = max(worst, abs(ratio - 1))
        print(f"{count:>8}" + "".join(f"{a:>18.1f}{b:>7.1f}" for a, b in (*pairs, both)) + f"{ratio:>7.2f}", flush=True)
    if worst > MOST_APART:
        raise SystemExit(f"a simulated makespan is {worst:.0%} off; {MOST_APART:.0%} is allowed")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet_simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--scenario", type=Path, help=f"YAML; default {PAPER.name}, with --check {SMALL.name}")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="key.path=value")
    parser.add_argument("--variants", nargs="+", help="of the scenario; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="simulations at once")
    parser.add_argument("--check", action="store_true", help="compare with real runs")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4], help="of the real runs")
    chosen = parser.parse_args()
    scenario = Scenario.of_file(chosen.scenario or (SMALL if chosen.check else PAPER), chosen.changes)
    if chosen.check:
        check(scenario, chosen.replicas, chosen.seed)
    else:
        names = chosen.variants or list(scenario.variants) or [""]
        table(scenario, names, sorted(chosen.gpus), chosen.seed, chosen.processes)


if __name__ == "__main__":
    main()
