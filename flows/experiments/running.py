"""The flow of an experiment: its runs one after the other in one process, then the search curves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict, Field

from flows.experiments.document import Block, Heading, as_markdown
from flows.experiments.page import accuracy_table, comparison_table, write_page
from flows.experiments.results import collect
from flows.experiments.search_curve import measure_curve
from flows.experiments.specification import Experiment, PlannedRun, load_experiment
from flows.experiments.state import description, results_folder
from flows.self_play import self_play
from flows.wiring.completion import is_finished
from flows.wiring.request import Override
from flows.wiring.runs import RunPlan, opened_run
from spar_core.errors import SparError
from storage.entries import RunState
from storage.tracking import Point
from tasks.runners import THREADS
from tasks.runtime import Runtime


class ExperimentRequest(BaseModel):
    """An experiment by its file: small, JSON-like, the same from the command line or a deployment."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    file: str
    """YAML file of the experiment."""
    home: str | None = None
    """Home folder; null: $SPAR_HOME, else `.spar` in the working directory."""
    overrides: list[Override] = Field(default_factory=list)
    """`key.path=value` strings for all variants."""
    seeds: list[int] | None = None
    """Seeds instead of the file's."""
    out: str | None = None
    """Folder of the result page; null: experiments/NAME in the home."""

    def resolve(self) -> Experiment:
        """Read the file and resolve every run.

        Raises:
            ConfigError: naming the key, or the variant whose configuration is wrong.
        """
        return load_experiment(Path(self.file), self.home, self.overrides, self.seeds)


class Failure(NamedTuple):
    """A run that could not be finished, and why."""

    variant: str
    seed: int
    reason: str


@flow(name="experiment", flow_run_name="experiment", task_runner=THREADS)
def experiment(request: ExperimentRequest) -> list[Failure]:
    """Run what is not finished yet, measure the search curves; returns the runs that failed.

    A failure ends its own run alone. Asked again, the experiment goes on with what is missing.
    """
    planned = request.resolve()
    home = planned.runs[0].run.home
    runtime = Runtime.of(str(home.root))
    failures: list[Failure] = []
    plan = RunPlan(home, planned.run_id, description(planned), "run", tracked=False, becomes=lambda: _became(failures))
    with opened_run(plan):
        mlflow_run = runtime.tracking.tracker.open_experiment(planned.run_id, planned.specification.name)
        state: RunState = "interrupted"
        try:
            failures += _run_all(planned, runtime, mlflow_run)
            _publish(planned, failures, results_folder(planned, request.out), mlflow_run)
            state = _became(failures)
        except Exception:
            state = "failed"
            raise
        finally:
            runtime.tracking.tracker.close(mlflow_run, state)
    return failures


def _became(failures: Sequence[Failure]) -> RunState:
    return "failed" if failures else "completed"


def _run_all(planned: Experiment, runtime: Runtime, mlflow_run: str) -> list[Failure]:
    failures: list[Failure] = []
    for number, entry in enumerate(planned.runs, 1):
        names = {"spar.experiment": planned.run_id, "spar.variant": entry.variant, "spar.seed": str(entry.seed)}
        runtime.tracking.tracker.nest(entry.run.run_id, mlflow_run, names)
        label = f"[{number}/{len(planned.runs)}] {entry.variant}, seed {entry.seed}"
        if is_finished(entry.run):
            runtime.reporter.announced(f"{label}: finished before")
            continue
        runtime.reporter.announced(f"{label}: run {entry.run.run_id}")
        failures += _attempted(entry, runtime, _play, entry)
    failed = {(failure.variant, failure.seed) for failure in failures}
    curve = planned.specification.search_curve
    if curve is None:
        return failures
    for entry in planned.runs:
        if entry.variant in planned.specification.curve_variants and (entry.variant, entry.seed) not in failed:
            runtime.reporter.announced(f"search curve of {entry.variant}, seed {entry.seed}")
            failures += _attempted(entry, runtime, measure_curve, entry, curve)
    return failures


def _publish(planned: Experiment, failures: Sequence[Failure], folder: Path, mlflow_run: str) -> None:
    """The result page, and the same in MLflow and in Prefect."""
    outcome = collect(planned, {(failure.variant, failure.seed): failure.reason for failure in failures})
    written = write_page(outcome, folder)
    tracker = Runtime.of(outcome.home).tracking.tracker
    tracker.log_files(mlflow_run, written.files)
    points = [
        Point(number, {f"{variant.name}/{metric}": estimate.value for metric, estimate in means.items()})
        for variant in outcome.variants
        for number, means in enumerate(variant.means)
    ]
    tracker.log_points(mlflow_run, points)
    tables: list[Block] = [Heading(outcome.title, 1), accuracy_table(outcome), comparison_table(outcome)]
    key = "".join(character if character.isalnum() else "-" for character in outcome.experiment_id.lower())
    create_markdown_artifact(as_markdown(tables), key=key, description=f"Experiment {outcome.name}: {written.page}")


def _play(entry: PlannedRun) -> None:
    self_play.with_options(flow_run_name=f"{entry.variant}, seed {entry.seed}")(entry.request)


def _attempted(entry: PlannedRun, runtime: Runtime, work: Callable[..., None], *arguments: Any) -> list[Failure]:
    """Do it; what goes wrong is this run's alone."""
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other variants can do without
        reason = str(error) if isinstance(error, SparError) else f"{type(error).__name__}: {error}"
        runtime.reporter.announced(f"variant {entry.variant}, seed {entry.seed} failed: {reason}")
        if runtime.ledger.run(entry.run.run_id) is None:  # it was not even opened, only shown below the experiment
            runtime.tracking.tracker.close_run(entry.run.run_id, "failed", "failed")
        return [Failure(entry.variant, entry.seed, reason)]
    return []
