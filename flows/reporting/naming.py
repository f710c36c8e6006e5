"""Which run or experiment a name means."""

from flows.reporting.page import Page, report_of_run
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
    found = name or runs[-1].run_id
    return found, report_of_run(home, found)


def _worked_on(run: Run) -> str:
    return (run.created if run.activity is None else run.activity.started).isoformat()
