"""Does self-play improve the actor, and does the tree search add something over independent samples?

Runs the starter preset for several seeds with two methods that share everything they have in common: `spar`
(accepted rewrite over the failing answer) and `best_of_n` (best over worst of the same five samples, by the same
votes). Both are capped at the same number of pairs, so they take the same number of DPO steps. Figures come from the
test split; intervals are paired bootstraps over prompts. Interrupted, it resumes.

    python benchmarks/self_play.py --home .spar-benchmark --out docs/results
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.evaluation.statistics import Interval, paired_difference
from storage.catalog import open_catalog

METHODS = ("spar", "best_of_n")


class Outcome(NamedTuple):
    """One run: its id, its summary rows, and its answers' truth by iteration and prompt."""

    run_id: str
    rows: list[dict[str, Any]]
    accuracy: list[dict[str, float]]


def main() -> None:
    arguments = _arguments()
    started = time.monotonic()
    runs = {(method, seed): _run(arguments, method, seed) for seed in arguments.seeds for method in arguments.methods}
    report = _report(runs, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "self-play.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    _plot(runs, arguments)
    print(_table(report))
    print(f"{time.monotonic() - started:.0f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".spar-benchmark"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, method: str, seed: int) -> Outcome:
    values = [f"seed={seed}", f"method.pairs.method={method}", f"evaluation.split={arguments.split}"]
    command = [sys.executable, "-m", "flows", "run", "--json", "--home", str(arguments.home)]
    for value in [*values, *arguments.overrides]:
        command += ["--set", value]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout)
    outcome = Outcome(result["run_id"], result["iterations"], _accuracy(arguments.home, result))
    shown = " ".join(f"{100 * statistics.mean(values.values()):.1f}" for values in outcome.accuracy)
    pairs = [row["pairs"] for row in outcome.rows[1:]]
    print(f"{method:<10} seed {seed}: accuracy {shown}, pairs {pairs}", flush=True)
    return outcome


def _accuracy(home: Path, result: dict[str, Any]) -> list[dict[str, float]]:
    """Share of right answers per prompt, for every iteration."""
    query = (
        "SELECT iteration, cluster_id, avg(value) AS value FROM eval_items "
        "WHERE run_id = ? AND metric = 'accuracy' GROUP BY ALL"
    )
    by_iteration: dict[int, dict[str, float]] = {}
    with open_catalog(home) as catalog:
        for row in catalog.rows(query, [result["run_id"]]):
            by_iteration.setdefault(row["iteration"], {})[row["cluster_id"]] = row["value"]
    return [by_iteration[number] for number in sorted(by_iteration)]


def _difference(before: list[dict[str, float]], after: list[dict[str, float]]) -> Interval:
    """Mean of after - before over prompts; the same prompt in several runs is one cluster."""
    first, second, clusters = [], [], []
    for low, high in zip(before, after, strict=True):
        for prompt in sorted(low):
            first.append(low[prompt])
            second.append(high[prompt])
            clusters.append(prompt)
    return paired_difference(first, second, clusters)


def _report(runs: dict[tuple[str, int], Outcome], arguments: argparse.Namespace) -> dict[str, Any]:
    seeds = arguments.seeds
    report: dict[str, Any] = {"seeds": seeds, "split": arguments.split, "runs": {}, "differences": {}}
    for (method, seed), outcome in runs.items():
        report["runs"][f"{method}/{seed}"] = outcome.rows
    for method in arguments.methods:
        accuracies = [runs[method, seed].accuracy for seed in seeds]
        last = len(accuracies[0]) - 1
        for seed, accuracy in zip(seeds, accuracies, strict=True):
            steps = [_difference([accuracy[i]], [accuracy[i + 1]]) for i in range(last)]
            report["differences"][f"{method}/{seed}"] = {
                "total": _difference([accuracy[0]], [accuracy[last]])._asdict(),
                "steps": [step._asdict() for step in steps],
            }
        pooled = _difference([a[0] for a in accuracies], [a[last] for a in accuracies])
        report["differences"][f"{method}/pooled"] = {"total": pooled._asdict()}
    if set(METHODS) <= set(arguments.methods):
        ours = [runs["spar", seed].accuracy[-1] for seed in seeds]
        theirs = [runs["best_of_n", seed].accuracy[-1] for seed in seeds]
        report["spar_minus_best_of_n"] = {
            "pooled": _difference(theirs, ours)._asdict(),
            **{str(seed): _difference([b], [a])._asdict() for seed, a, b in zip(seeds, ours, theirs, strict=True)},
        }
    return report


def _table(report: dict[str, Any]) -> str:
    lines = ["| run | accuracy % by iteration | last - first | judge % | fixes % | pairs | pairs true % |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, rows in report["runs"].items():
        total = report["differences"][name]["total"]
        cells = [
            name,
            _series(rows, "actor_accuracy"),
            _shown(total),
            _series(rows, "judge_balanced_accuracy"),
            _series(rows, "fix_rate"),
            ", ".join(str(row["pairs"]) for row in rows[1:]),
            _series(rows[1:], "pair_truth"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for name, entry in report["differences"].items():
        if name.endswith("/pooled"):
            lines.append(f"\n{name}: last - first {_shown(entry['total'])}")
    if "spar_minus_best_of_n" in report:
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in report["spar_minus_best_of_n"].items())
        lines.append(f"\nspar - best_of_n at the last iteration: {shown}")
    return "\n".join(lines)


def _series(rows: list[dict[str, Any]], name: str) -> str:
    return ", ".join(f"{100 * row[name]['value']:.1f}" if name in row else "-" for row in rows)


def _shown(interval: dict[str, float]) -> str:
    return f"{100 * interval['value']:+.1f} [{100 * interval['ci_low']:.1f}, {100 * interval['ci_high']:.1f}]"


def _plot(runs: dict[tuple[str, int], Outcome], arguments: argparse.Namespace) -> None:
    try:
        import matplotlib
    except ImportError:
        print("no plot: pip install 'spar[plots]'", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    panels = {
        "actor_accuracy": "all prompts",
        "actor_accuracy_iid": "in distribution",
        "actor_accuracy_heldout": "held out",
    }
    colours = dict(zip(METHODS, ("tab:blue", "tab:orange"), strict=True))
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        for method in arguments.methods:
            curves = [
                [100 * row[name]["value"] for row in runs[method, seed].rows if name in row] for seed in arguments.seeds
            ]
            for curve in curves:
                axis.plot(curve, color=colours[method], alpha=0.3, linewidth=1)
            mean = [statistics.mean(values) for values in zip(*curves, strict=True)]
            axis.plot(mean, color=colours[method], marker="o", label=method)
        axis.set_title(title)
        axis.set_xlabel("iteration")
        axis.set_xticks(range(len(mean)))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("sampled test accuracy, %")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(arguments.out / "self-play.png", dpi=120)


if __name__ == "__main__":
    main()
