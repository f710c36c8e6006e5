"""Whether there is anything left to do: asked before a server is started for nothing."""

from flows.wiring.request import Run
from spar_core.secrets import redacted
from storage.artifacts import ArtifactStore
from storage.entries import StageRun
from storage.ledger import Ledger


def is_finished(run: Run) -> bool:
    """Whether this very run is complete and all its artifacts are whole."""
    known = Ledger(run.home).run(run.run_id)
    if known is None or known.state != "completed" or known.config != redacted(run.config.model_dump(mode="json")):
        return False
    return has_whole_artifacts(run)


def has_whole_artifacts(run: Run) -> bool:
    """Whether every artifact the ledger knows of this run is still there, but for those that `spar gc` deleted.

    What failed beside its iterations (a night after the last of them, a champion's measurement) is not missed.
    """
    store = ArtifactStore(run.home)
    stages = [stage for stage in Ledger(run.home).stages(run.run_id) if not stage.collected and _is_missed(run, stage)]
    return all(store.get(stage.stage, stage.stage_key) is not None for stage in stages)


def _is_missed(run: Run, stage: StageRun) -> bool:
    is_own = stage.iteration is not None and stage.iteration <= run.config.iterations
    return is_own or stage.state == "completed"
