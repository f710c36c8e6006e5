"""What the ledger learns of a stage."""

import time

from storage.artifacts import ArtifactRef
from storage.entries import StageRun, utc_now
from storage.ledger import Ledger
from tasks.calls import StageCall


class LedgerEntry:
    """One stage of one run, from its start to its end."""

    def __init__(self, ledger: Ledger, call: StageCall) -> None:
        self._ledger = ledger
        self._clock = time.monotonic()
        self._before = self._earlier(call)
        run = ledger.run(call.run_id)
        self._entry = StageRun(
            generation=0 if run is None else run.generation,
            run_id=call.run_id,
            iteration=call.iteration,
            stage=call.stage,
            stage_key=call.key,
            state="running",
            started=utc_now(),
        )
        ledger.record_stage(self._entry)

    def completed(self, artifact: ArtifactRef, *, cached: bool) -> float:
        """Enter the result; returns the seconds the stage took when it was computed in this run."""
        seconds = time.monotonic() - self._clock
        if cached and self._before is not None and self._before.seconds is not None:
            seconds = self._before.seconds
        manifest = artifact.manifest()
        update = {
            "state": "completed",
            "cached": cached,
            "made_here": not cached or (self._before is not None and self._before.made_here),
            "rows_in": manifest.rows_in,
            "rows_out": manifest.rows_out,
            "rows_dropped": sum(manifest.drops.values()),
            "seconds": seconds,
            "artifact_uri": artifact.uri,
            "ended": utc_now(),
        }
        self._ledger.record_stage(self._entry.model_copy(update=update))
        return seconds

    def failed(self, error: BaseException) -> None:
        """Enter the failure."""
        update = {
            "state": "failed",
            "seconds": time.monotonic() - self._clock,
            "ended": utc_now(),
            "detail": f"{type(error).__name__}: {error}",
        }
        self._ledger.record_stage(self._entry.model_copy(update=update))

    def _earlier(self, call: StageCall) -> StageRun | None:
        for entry in self._ledger.stages(call.run_id, superseded=True):
            same = entry.iteration == call.iteration and entry.stage == call.stage
            if same and entry.stage_key == call.key and entry.state == "completed":
                return entry
        return None
