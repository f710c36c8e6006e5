"""Which run or experiment a name means."""

from contextlib import closing

from flows.reporting.experiment_report import experiments, report_of_experiment
from flows.reporting.page import Page, report_of_run
from flows.view.reader import Reader
from spar_core.errors import StorageError
from storage.entries import Run
from storage.home import Home
from storage.ledger import Ledger


def report_of(home: Home, name: str | None) -> tuple[str, Page]:
    """The report of a run or an experiment, with its name; the run that was worked on last where none is named.

    Raises:
        StorageError: there is nothing of that name.
    """
    runs = sorted(Ledger(home).runs(), key=_worked_on)
    if name is None and not runs:
        raise StorageError(f"{home.root} holds no run yet; start one with `spar run --home {home.root}`")
    found = name or next((run.run_id for run in reversed(runs) if not _is_experiment(run)), runs[-1].run_id)
    results = experiments(home).get(found)
    if results is not None:
        return found, report_of_experiment(home, results)
    if any(_is_experiment(run) for run in runs if run.run_id == found):
        raise StorageError(
            f"the results of experiment {found} are not in {home.root / 'experiments'}: "
            "`spar experiment FILE --report-only` writes them"
        )
    with closing(Reader(home)) as reader:
        return found, report_of_run(reader, found)


def _worked_on(run: Run) -> str:
    return (run.created if run.activity is None else run.activity.started).isoformat()


def _is_experiment(run: Run) -> bool:
    return "experiment" in run.config
