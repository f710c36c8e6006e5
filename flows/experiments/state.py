"""What the home knows of an experiment as a whole: asked before a server is started for nothing."""

from pathlib import Path
from typing import Any

from flows.experiments.specification import Experiment, curve_run_id
from flows.wiring.completion import has_whole_artifacts, is_finished
from flows.wiring.request import Run
from spar_core.secrets import redacted
from storage.ledger import Ledger


def results_folder(planned: Experiment, out: str | None) -> Path:
    """Where the result page goes."""
    home = planned.runs[0].run.home
    return Path(out).absolute() if out else home.root / "experiments" / planned.specification.name


def is_finished_experiment(planned: Experiment) -> bool:
    """Whether this very experiment is complete and everything it made is whole: then there is nothing to start."""
    home = planned.runs[0].run.home
    known = Ledger(home).run(planned.run_id)
    if known is None or known.state != "completed" or known.config != redacted(description(planned)):
        return False
    curves = (Run(home, curve_run_id(entry.run.run_id), entry.run.config) for entry in planned.runs)
    return all(is_finished(entry.run) for entry in planned.runs) and all(map(has_whole_artifacts, curves))


def description(planned: Experiment) -> dict[str, Any]:
    """What the ledger keeps of an experiment as its configuration."""
    return {
        "experiment": planned.specification.model_dump(mode="json", by_alias=True),
        "overrides": list(planned.given),
        "runs": [[run.variant, run.seed, run.run.run_id] for run in planned.runs],
    }
