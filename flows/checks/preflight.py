"""All checks of a piece of work, before anything is started for it."""

from collections.abc import Iterator

from flows.checks.data import check_data
from flows.checks.machine import check_machine
from flows.checks.models import check_models
from flows.checks.packages import check_packages
from flows.checks.verdicts import Finding, require
from flows.checks.work import Work, of_run
from flows.wiring.request import Run

_CHECKS = (check_packages, check_data, check_models, check_machine)


def findings(work: Work) -> Iterator[Finding]:
    """What every check finds, in the order a user mends things. Imports neither Prefect, MLflow nor PyTorch."""
    for check in _CHECKS:
        yield from check(work)


def preflight(work: Work) -> None:
    """Stop before anything is started where something is known to be missing; a run is also told what is tight.

    Raises:
        SparError: naming everything that failed, each with its remedy.
    """
    require(findings(work), loud=work.trains)


def preflight_run(run: Run) -> None:
    """The same for a run of self-play.

    Raises:
        SparError: as `preflight`.
    """
    preflight(of_run(run))
