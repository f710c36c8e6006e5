"""The report of an experiment: what its result page says, plots drawn into the page, and trees of its runs."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from markupsafe import Markup
from pydantic import ValidationError

from flows.experiments.document import body_html
from flows.experiments.outcome import ExperimentOutcome
from flows.experiments.page import page as result_page
from flows.experiments.wording import ACCURACIES, REFINER
from flows.reporting.chosen import chosen_trees
from flows.reporting.curves import Chart, chart
from flows.reporting.page import Page, assembled
from flows.view.reader import Reader
from spar_core.errors import StorageError
from storage.addresses import view_page
from storage.home import Home

_BIAS = "self_evaluation_bias"  # a difference of two shares
_RESULTS = "experiments/*/results.json"


def experiments(home: Home) -> Mapping[str, Path]:
    """The experiments whose results lie in a home, by name and by id: their `results.json`.

    One that cannot be read is known by its folder alone.
    """
    found: dict[str, Path] = {}
    for file in sorted(home.root.glob(_RESULTS)):
        found[file.parent.name] = file
        try:
            outcome = _read(file)
        except StorageError:
            continue
        found[outcome.name] = found[outcome.experiment_id] = file
    return found


def report_of_experiment(home: Home, results: Path) -> Page:
    """The page of an experiment.

    Args:
        home: holds its runs.
        results: its `results.json`.

    Raises:
        StorageError: the results cannot be read, or the home.
    """
    outcome = _read(results)
    with closing(Reader(home)) as reader:
        chosen = chosen_trees(reader, [run.run_id for run in outcome.runs])
    body = Markup(body_html(result_page(outcome, {})[1:]))  # the title stands above the plots
    context = {"outcome": outcome, "charts": _charts(outcome), "body": body}
    return assembled(home, view_page(home, ""), "report_experiment.html", context, chosen)


def _read(results: Path) -> ExperimentOutcome:
    try:
        return ExperimentOutcome.model_validate_json(results.read_bytes())
    except (OSError, ValidationError) as error:
        raise StorageError(
            f"{results} cannot be read ({error}); `spar experiment FILE --report-only` writes it anew"
        ) from error


def _charts(outcome: ExperimentOutcome) -> list[Chart]:
    titles = {
        **{metric: f"right answers, {name} %" for metric, name in ACCURACIES.items()},
        **{metric: f"{name}, points" if metric == _BIAS else f"{name} %" for metric, name in REFINER.items()},
    }
    drawn = []
    for metric, title in titles.items():
        by_variant = {
            variant.name: {number: means[metric] for number, means in enumerate(variant.means) if metric in means}
            for variant in outcome.variants
        }
        drawn.append(chart(title, {name: points for name, points in by_variant.items() if points}))
    return [each for each in drawn if each is not None]
