"""The result page of an experiment: Markdown, self-contained HTML, JSON and the plots, in one folder."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from flows.experiments.document import (
    Block,
    Code,
    Folded,
    Heading,
    Picture,
    Points,
    Table,
    Text,
    as_html,
    as_markdown,
)
from flows.experiments.outcome import ExperimentOutcome, IterationOutcome, VariantOutcome
from flows.experiments.own_mistakes import own_mistakes
from flows.experiments.plots import draw_plots
from flows.experiments.search_page import search_tables
from flows.experiments.wording import (
    ACCURACIES,
    COMPARED,
    REFINER,
    answers,
    change,
    count,
    difference,
    interval,
    notes,
    percent,
    points,
)
from spar_core.errors import ConfigError
from spar_core.evaluation.estimate import Estimate
from storage.disk import disk_errors

_CAPTIONS = {
    "accuracy": "Accuracy per iteration: thick all seeds with the 95 % interval over prompts, thin each seed.",
    "pair-truth": "Share of an iteration's pairs whose chosen answer is truly right and whose rejected one is wrong.",
    "reliability": "How often an answer is right, by the share of votes that approve it; dotted: votes that are true.",
    "search-curve": "Final answers against what the search may spend; bars are 95 % intervals over prompts.",
}


class Written(NamedTuple):
    """Where the results lie; `problem` says why there are no plots."""

    page: Path
    files: tuple[Path, ...]
    problem: str = ""


def write_page(outcome: ExperimentOutcome, folder: Path) -> Written:
    """Write everything; a page without plots where matplotlib is not installed.

    Raises:
        StorageError: the folder cannot be written.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        plots: dict[str, Path] = {}
        problem = ""
        try:
            plots = draw_plots(outcome, folder)
        except ConfigError as error:
            problem = str(error)
        blocks = page(outcome, plots, problem)
        page_file = folder / "report.html"
        texts = {
            page_file: as_html(outcome.title, blocks),
            folder / "README.md": as_markdown(blocks),
            folder / "results.json": outcome.model_dump_json(indent=1) + "\n",
        }
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
    return Written(page_file, (*texts, *plots.values()), problem)


def page(outcome: ExperimentOutcome, plots: dict[str, Path], problem: str = "") -> list[Block]:
    """The blocks of the page."""

    def pictures(*names: str) -> list[Block]:
        return [Picture(plots[name], _CAPTIONS[name]) for name in names if name in plots]

    blocks: list[Block] = [Heading(outcome.title, 1)]
    blocks += [Text(line) for line in outcome.description.split("\n\n") if line.strip()]
    if found := answers(outcome):
        blocks += [Heading("Short answer"), Points(found, "answer")]
    if found := [*notes(outcome), *([problem] if problem else [])]:
        blocks.append(Points(found, "warning"))
    blocks += [Heading("What was run"), *_setting(outcome)]
    blocks += [Heading("Actor"), *pictures("accuracy"), accuracy_table(outcome)]
    if outcome.comparisons:
        blocks += [Heading("Compared at the last iteration", 3), comparison_table(outcome)]
    blocks += [Heading("Refiner"), *pictures("reliability"), *_refiner(outcome), *own_mistakes(outcome)]
    blocks += [Heading("Data, steps and cost"), *pictures("pair-truth"), *_data(outcome)]
    if outcome.curve:
        blocks += [Heading("Test-time search"), *pictures("search-curve"), *search_tables(outcome)]
    blocks += [Heading("Runs"), _runs(outcome), Heading("Reproduce"), *_reproduce(outcome)]
    return blocks


def accuracy_table(outcome: ExperimentOutcome) -> Table:
    """Accuracy by prompts, variant and iteration, with the paired gain."""
    return _by_metric(outcome, ACCURACIES, "prompts, %", interval)


def comparison_table(outcome: ExperimentOutcome) -> Table:
    """Paired differences between variants: each set of prompts, the refiner, and each seed."""
    shown = {**ACCURACIES, **COMPARED}
    metrics = [metric for metric in shown if any(difference(pair.differences, metric) for pair in outcome.comparisons)]
    seeds = outcome.seeds if len(outcome.seeds) > 1 else ()
    rows = []
    for pair in outcome.comparisons:
        overall = difference(pair.differences, "accuracy")
        by_seed = overall.by_seed if overall else {}
        cells = [change(difference(pair.differences, metric)) for metric in metrics]
        even = "no" if pair.warnings else "yes"
        rows.append([f"{pair.variant} - {pair.baseline}", *cells, *(_of_seed(by_seed.get(s)) for s in seeds), even])
    columns = ["difference, points", *(shown[metric] for metric in metrics), *(f"all, seed {s}" for s in seeds)]
    return Table([*columns, "even"], rows)


def _of_seed(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{points(estimate)} {estimate.bounds()}"


def _setting(outcome: ExperimentOutcome) -> list[Block]:
    own = [[variant.name, _values(variant)] for variant in outcome.variants]
    shared = [[name, str(value)] for name, value in outcome.shared.items()]
    shared.append(["seeds", ", ".join(map(str, outcome.seeds))])
    return [
        Table(["variant", "differs in"], own, frozenset({0, 1})),
        Table(["all variants", ""], shared, frozenset({0, 1})),
        Text(
            "A checker knows the truth of the measured answers; the same prompts and sampling seeds serve every model, "
            "so differences are paired. Brackets hold 95 % intervals: bootstraps over prompts, where the seeds of one "
            "prompt stay together, say what other prompts would show for these seeds; those after `seeds`, Student's t "
            "over one value per seed, say what other seeds would show. Only where both exclude zero is a difference "
            "called one. Stages that runs share are computed once."
        ),
    ]


def _by_metric(
    outcome: ExperimentOutcome, metrics: Mapping[str, str], heading: str, shown: Callable[[Estimate | None], str]
) -> Table:
    """Variants below one another for each metric, with the paired gain; each metric is named once."""
    numbers = _iterations(outcome)
    rows: list[list[str]] = []
    for metric, name in metrics.items():
        having = [variant for variant in outcome.variants if any(metric in means for means in variant.means)]
        for place, variant in enumerate(having):
            values = [shown(_mean(variant, number, metric)) for number in numbers]
            title = "" if place else f"**{name}**"
            rows.append([title, variant.name, *values, change(difference(variant.gains, metric))])
    columns = [heading, "variant", *(f"iteration {number}" for number in numbers), "last - first"]
    return Table(columns, rows, frozenset({0, 1}))


def _refiner(outcome: ExperimentOutcome) -> list[Block]:
    found = _by_metric(outcome, REFINER, "refiner, %", percent)
    if not found.rows:
        return [Text("The refiner was not measured.")]
    everything = _everything(outcome, _iterations(outcome))
    return [
        Text(
            "What counts is its judging where it is used: of its own actor's answers and of its own rewrites. These "
            "are other texts for every refiner; their differences draw prompts again, with the texts of both. The "
            "common pool is the same for all: the first actor's answers and the first refiner's rewrites, paired text "
            "by text. The answers it repairs are the first actor's."
        ),
        found,
        Folded(f"All {len(everything.rows)} measured figures", everything),
    ]


def _everything(outcome: ExperimentOutcome, numbers: Sequence[int]) -> Table:
    rows = []
    for variant in outcome.variants:
        metrics = dict.fromkeys(metric for means in variant.means for metric in sorted(means))
        for metric in metrics:
            values = [interval(_mean(variant, number, metric)) for number in numbers]
            rows.append([variant.name, metric, *values])
    return Table(["variant", "metric", *(f"iteration {number}" for number in numbers)], rows, frozenset({0, 1}))


def _data(outcome: ExperimentOutcome) -> list[Block]:
    rows = []
    for variant in outcome.variants:
        for number in _iterations(outcome)[1:]:
            reached = [run.iterations[number] for run in outcome.of(variant.name) if len(run.iterations) > number]
            if reached:
                told = [percent(_mean(variant, number, metric)) for metric in ("pair_truth", "pair_ordered")]
                rows.append([variant.name, str(number), *_figures(reached), *told, _depths(reached)])
    columns = ["variant", "iteration", "pairs", "DPO steps", "refiner steps", "tokens", "seconds"]
    columns += ["pairs true, %", "pairs ordered, %"]
    return [
        Text(
            "Means over seeds. Tokens are completion tokens of making the data, seconds those of data and training, "
            "both as if the run stood alone, measuring left out. True: the chosen answer meets every constraint, the "
            "rejected one does not; ordered: the chosen one breaks fewer. Depth: where accepted rewrites lie in trees."
        ),
        Table([*columns, "accepted at depth 1 / 2 / deeper, %"], rows),
    ]


def _figures(reached: Sequence[IterationOutcome]) -> list[str]:
    def average(of: Callable[[IterationOutcome], float | None]) -> str:
        known = [value for entry in reached if (value := of(entry)) is not None]
        return count(statistics.fmean(known) if known else None)

    return [
        average(lambda entry: entry.pairs),
        average(lambda entry: entry.dpo_steps),
        average(lambda entry: entry.refiner_steps),
        average(lambda entry: entry.tokens),
        count(round(statistics.fmean(entry.seconds for entry in reached))),
    ]


def _depths(reached: Sequence[IterationOutcome]) -> str:
    by_depth = [0, 0, 0]
    for entry in reached:
        for depth, trees in entry.accepted_by_depth.items():
            by_depth[min(depth, 3) - 1] += trees
    total = sum(by_depth)
    return " / ".join(f"{100 * trees / total:.1f}" for trees in by_depth) if total else "-"


def _runs(outcome: ExperimentOutcome) -> Table:
    rows = []
    for run in outcome.runs:
        accuracy = [percent(entry.scores.get("accuracy")) for entry in run.iterations]
        seconds = count(round(sum(entry.seconds for entry in run.iterations)))
        state = "complete" if run.complete else run.reason.splitlines()[0] if run.reason else "not complete"
        rows.append([run.variant, str(run.seed), f"`{run.run_id}`", ", ".join(accuracy) or "-", seconds, state])
    columns = ["variant", "seed", "run", "accuracy by iteration, %", "seconds", "state"]
    return Table(columns, rows, frozenset({0, 2, 5}))


def _reproduce(outcome: ExperimentOutcome) -> list[Block]:
    given = "".join(f" --set {value}" for value in outcome.overrides)
    seeds = ",".join(map(str, outcome.seeds))
    return [
        Code(f"spar experiment {outcome.file} --home {outcome.home} --seeds {seeds}{given}", "sh"),
        Text(f"`{outcome.file}`:"),
        Code(outcome.file_text, "yaml"),
        Text("Every figure of this page, and those it leaves out, are in `results.json`."),
    ]


def _values(variant: VariantOutcome) -> str:
    shown = [f"`{key}: {_value(value)}`" for key, value in variant.overrides.items()]
    return ", ".join(shown) or "nothing"


def _value(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).replace("\n...", "").strip()


def _iterations(outcome: ExperimentOutcome) -> list[int]:
    return list(range(max((len(variant.means) for variant in outcome.variants), default=0)))


def _mean(variant: VariantOutcome, number: int, metric: str) -> Estimate | None:
    return variant.means[number].get(metric) if number < len(variant.means) else None
