"""`spar experiment`: variants x seeds, compared on one page."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.checks.preflight import preflight_run
from flows.commands.options import home_option, json_option, table
from spar_core.errors import SparError

if TYPE_CHECKING:
    from flows.experiments.outcome import ExperimentOutcome
    from flows.experiments.specification import Experiment


def _seeds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter("seeds are whole numbers with commas between, such as 0,1,2") from error


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Results.  [default: HOME/experiments/NAME]"
)
@click.option("--seeds", callback=_seeds, metavar="N,N,...", help="Seeds instead of the file's.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override one value of all variants; repeatable.",
)
@click.option("--report-only", is_flag=True, help="Run nothing: write the page of what is there, also while it runs.")
@home_option
@json_option
def experiment(
    file: Path,
    out: Path | None,
    seeds: tuple[int, ...] | None,
    overrides: tuple[str, ...],
    report_only: bool,
    home: Path | None,
    as_json: bool,
) -> int:
    """Run every variant of FILE with every seed and compare them. The same command again resumes.

    \b
    Writes report.html, README.md, results.json and plots. Exit code 1 if a variant failed; the others go on.

    \b
    Example:
      spar experiment experiments/small.yaml
      spar experiment experiments/methods.yaml --seeds 0 --set evaluation.prompts=300
      spar experiment experiments/methods.yaml --report-only
    """
    from flows.experiments.page import write_page
    from flows.experiments.results import collect
    from flows.experiments.specification import load_experiment
    from flows.experiments.state import is_finished_experiment, results_folder

    started = time.monotonic()
    planned = load_experiment(file, str(home.absolute()) if home else None, overrides, seeds)
    planned.runs[0].run.home.check_layout()
    folder = results_folder(planned, str(out) if out else None)
    if report_only or is_finished_experiment(planned):
        outcome = collect(planned, {})
        write_page(outcome, folder)
    else:
        _preflight(planned)
        outcome = _run(planned, file, folder, quiet=as_json)
    _show(outcome, folder, time.monotonic() - started, as_json=as_json)
    return 1 if outcome.failures and not report_only else 0


def _preflight(planned: "Experiment") -> None:
    """Stop before anything is started where no variant could run; one that cannot does not keep the others from it.

    Raises:
        SparError: what the first variant lacks.
    """
    problems = []
    variants = {entry.variant: entry.run for entry in planned.runs}
    for run in variants.values():
        try:
            preflight_run(run)
        except SparError as error:
            problems.append(error)
    if len(problems) == len(variants):
        raise problems[0]


def _run(planned: "Experiment", file: Path, folder: Path, *, quiet: bool) -> "ExperimentOutcome":
    from flows.experiments.outcome import ExperimentOutcome
    from flows.wiring.session import session

    home = planned.runs[0].run.home
    with session(home, planned.run_id, quiet=quiet):
        from flows.experiments.running import ExperimentRequest
        from flows.experiments.running import experiment as experiment_flow

        experiment_flow(
            ExperimentRequest(
                file=str(file.absolute()),
                home=str(home.root),
                overrides=list(planned.given),
                seeds=list(planned.specification.seeds),
                out=str(folder),
            )
        )
    return ExperimentOutcome.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))


def _show(outcome: "ExperimentOutcome", folder: Path, seconds: float, *, as_json: bool) -> None:
    from flows.experiments.page import accuracy_table, comparison_table
    from flows.experiments.wording import notes

    if as_json:
        click.echo(outcome.model_dump_json())
        return
    for title, shown in (("accuracy", accuracy_table(outcome)), ("compared", comparison_table(outcome))):
        if shown.rows:
            numeric = {column for index, column in enumerate(shown.columns) if index not in shown.texts}
            table(title, list(shown.columns), [list(row) for row in shown.rows], numeric)
    for note in notes(outcome):
        click.echo(f"note: {note}", err=True)
    click.echo(f"{seconds:.0f} s. The page: {folder / 'report.html'}")
    if not list(folder.glob("*.png")):
        click.echo("note: no plots; for them: pip install 'spar[plots]'", err=True)
