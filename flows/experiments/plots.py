"""The plots of an experiment, as PNG files. Needs matplotlib (extra `plots`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.experiments.outcome import CurvePoint, ExperimentOutcome, VariantOutcome
from spar_core.errors import ConfigError
from spar_core.evaluation.estimate import Estimate

MISSING = "no plots: matplotlib is not installed; pip install 'spar[plots]'"
RELIABILITY = "judge_reliability/"
_COLOURS = (
    "#1f6feb",
    "#d9730d",
    "#2da44e",
    "#8250df",
    "#cf222e",
    "#7d4e00",
    "#0a7ea4",
    "#bf3989",
    "#57606a",
    "#9a9500",
)
_STYLES = {"bfs": ("-", "o"), "dfs": ("--", "s"), "chain": (":", "^")}
_PANELS = {"accuracy": "all prompts", "accuracy/iid": "in distribution", "accuracy/heldout": "held out"}


def draw_plots(outcome: ExperimentOutcome, folder: Path) -> dict[str, Path]:
    """Every plot there is data for, by name.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(MISSING) from error
    style = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "legend.frameon": False,
        "figure.dpi": 110,
        "savefig.bbox": "tight",
    }
    draw: dict[str, Callable[[ExperimentOutcome], Any]] = {
        "accuracy": _accuracy,
        "search-curve": _search_curve,
        "reliability": _reliability,
        "pair-truth": _pair_truth,
    }
    files = {}
    with matplotlib.rc_context(style):
        matplotlib.use("Agg")
        from matplotlib import pyplot

        for name, make in draw.items():
            figure = make(outcome)
            if figure is None:
                continue
            files[name] = folder / f"{name}.png"
            # Without the date and the version, equal results are equal files.
            figure.savefig(files[name], metadata={"Software": None})
            pyplot.close(figure)
    return files


def _accuracy(outcome: ExperimentOutcome) -> Any:
    """Accuracy per iteration: thick the mean over seeds with its interval, thin each seed."""
    measured = {metric for variant in outcome.variants for means in variant.means for metric in means}
    panels = {metric: title for metric, title in _PANELS.items() if metric in measured}
    if not panels:
        return None
    figure, axes = _axes(len(panels), sharey=True)
    for axis, (metric, title) in zip(axes, panels.items(), strict=True):
        for colour, variant in _coloured(outcome):
            for run in outcome.of(variant.name) if len(outcome.seeds) > 1 else ():
                values = [100 * entry.scores[metric].value for entry in run.iterations if metric in entry.scores]
                axis.plot(range(len(values)), values, color=colour, alpha=0.25, linewidth=1)
            _line(axis, [means.get(metric) for means in variant.means], colour, variant.name)
        axis.set_title(title)
        _by_iteration(axis, outcome)
    axes[0].set_ylabel("answers that meet every constraint, %")
    return _with_legend(figure, axes[0])


def _pair_truth(outcome: ExperimentOutcome) -> Any:
    """Share of an iteration's pairs that teach the truth."""
    if not any("pair_truth" in means for variant in outcome.variants for means in variant.means):
        return None
    figure, (axis,) = _axes(1)
    for colour, variant in _coloured(outcome):
        _line(axis, [means.get("pair_truth") for means in variant.means], colour, variant.name)
    _by_iteration(axis, outcome)
    axis.set_ylabel("pairs with a right chosen and\na wrong rejected answer, %")
    return _with_legend(figure, axis)


def _reliability(outcome: ExperimentOutcome) -> Any:
    """Share of truly right answers by share of approving votes, first and last iteration."""
    shown = [
        (colour, variant)
        for colour, variant in _coloured(outcome)
        if variant.means and any(metric.startswith(RELIABILITY) for metric in variant.means[-1])
    ]
    if not shown:
        return None
    figure, axes = _axes(2, sharey=True)
    for axis, number, title in zip(axes, (0, -1), ("first iteration", "last iteration"), strict=True):
        axis.plot([0, 1], [0, 1], color="#8c959f", linewidth=1, linestyle=":")
        for colour, variant in shown:
            points = sorted(_shares(variant.means[number]).items())
            axis.errorbar(
                [share for share, _ in points],
                [estimate.value for _, estimate in points],
                yerr=list(zip(*([length / 100 for length in _spread(each)] for _, each in points), strict=True))
                or None,
                color=colour,
                marker="o",
                markersize=4,
                capsize=2,
                elinewidth=0.8,
                label=variant.name,
            )
        axis.set_title(title)
        axis.set_xlabel("share of votes that approve")
    axes[0].set_ylabel("share of answers that are right")
    return _with_legend(figure, axes[0])


def _shares(means: dict[str, Estimate]) -> dict[float, Estimate]:
    points = {}
    for metric, estimate in means.items():
        if metric.startswith(RELIABILITY):
            try:
                points[float(metric.removeprefix(RELIABILITY))] = estimate
            except ValueError:
                continue  # a figure about a part of the answers
    return points


def _search_curve(outcome: ExperimentOutcome) -> Any:
    """Accuracy of final answers against the node budget and against the tokens it costs."""
    if not outcome.curve:
        return None
    figure, axes = _axes(2, sharey=True)
    groups: dict[tuple[str, int], list[CurvePoint]] = {}
    for point in outcome.curve:
        groups.setdefault((point.variant, point.iteration), []).append(point)
    for colour, ((variant, iteration), points) in zip(_cycle(len(groups)), groups.items(), strict=True):
        first = [point for point in points if point.strategy == "none"]
        for axis in axes:
            axis.axhline(100 * first[0].accuracy.value, color=colour, linewidth=1, alpha=0.5, linestyle=(0, (1, 2)))
        for strategy in dict.fromkeys(point.strategy for point in points if point.strategy != "none"):
            line = [point for point in points if point.strategy == strategy]
            dash, marker = _STYLES.get(strategy, ("-", "o"))
            label = f"{variant}, iteration {iteration}, {strategy.upper()}"
            heights = [100 * point.accuracy.value for point in line]
            spread = [_spread(point.accuracy) for point in line]
            places: tuple[list[float], list[float]] = (
                [float(point.budget) for point in line],
                [point.tokens for point in line],
            )
            for axis, where in zip(axes, places, strict=True):
                axis.errorbar(
                    where,
                    heights,
                    yerr=list(zip(*spread, strict=True)),
                    color=colour,
                    linestyle=dash,
                    marker=marker,
                    markersize=4,
                    capsize=2,
                    elinewidth=0.8,
                    label=label,
                )
    axes[0].set_xscale("log", base=2)
    budgets = sorted({point.budget for point in outcome.curve if point.budget})
    axes[0].set_xticks(budgets, [str(budget) for budget in budgets])
    axes[0].minorticks_off()
    axes[0].set_xlabel("node budget per failing answer (dotted: no search)")
    axes[1].set_xlabel("completion tokens per prompt beyond the first answer")
    axes[0].set_ylabel("final answers that are right, %")
    return _with_legend(figure, axes[0], columns=2)


def _by_iteration(axis: Any, outcome: ExperimentOutcome) -> None:
    last = max((len(variant.means) for variant in outcome.variants), default=1) - 1
    axis.set_xlabel("iteration")
    axis.set_xticks(range(last + 1))
    axis.set_xlim(-0.25, last + 0.25)


def _line(axis: Any, estimates: list[Estimate | None], colour: str, label: str) -> None:
    known = [(number, estimate) for number, estimate in enumerate(estimates) if estimate is not None]
    if not known:
        return
    spread = [_spread(estimate) for _, estimate in known]
    axis.errorbar(
        [number for number, _ in known],
        [100 * estimate.value for _, estimate in known],
        yerr=list(zip(*spread, strict=True)),
        color=colour,
        marker="o",
        markersize=4,
        linewidth=2,
        capsize=2,
        elinewidth=0.8,
        label=label,
    )


def _spread(estimate: Estimate) -> tuple[float, float]:
    """Lengths of the error bar below and above, in percent."""
    return max(0.0, 100 * (estimate.value - estimate.ci_low)), max(0.0, 100 * (estimate.ci_high - estimate.value))


def _axes(panels: int, *, sharey: bool = False) -> tuple[Any, Any]:
    from matplotlib import pyplot

    width = 6.4 if panels == 1 else 4.2 * panels
    figure, axes = pyplot.subplots(1, panels, figsize=(width, 3.7), sharey=sharey, squeeze=False)
    return figure, axes[0]


def _with_legend(figure: Any, axis: Any, columns: int = 5) -> Any:
    handles, labels = axis.get_legend_handles_labels()
    figure.tight_layout()
    if handles:
        figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.01), ncols=min(columns, len(labels)))
    return figure


def _coloured(outcome: ExperimentOutcome) -> list[tuple[str, VariantOutcome]]:
    return list(zip(_cycle(len(outcome.variants)), outcome.variants, strict=True))


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]
