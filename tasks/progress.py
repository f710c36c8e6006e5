"""Progress of a stage: a bar in the Prefect UI and events for the terminal."""

import logging
from contextlib import suppress
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from storage.artifacts import ArtifactRef
from tasks.calls import StageCall
from tasks.runtime import Reporter

_log = logging.getLogger(__name__)


class StageProgress:
    """Counts finished shards of one stage. A UI that does not answer never stops the work."""

    def __init__(self, call: StageCall, parts: int, reporter: Reporter) -> None:
        self._call = call
        self._parts = parts
        self._done = 0
        self._reporter = reporter
        self._bar: UUID | None = None
        reporter.stage_started(call, parts)

    def advanced(self) -> None:
        """One more shard is finished."""
        self._done += 1
        self._reporter.stage_advanced(self._call, self._done, self._parts)
        if self._parts > 1:
            self._show(100.0 * self._done / self._parts)

    def finished(self, artifact: ArtifactRef, *, cached: bool, seconds: float) -> None:
        """The artifact is committed."""
        self._reporter.stage_finished(self._call, artifact, cached, seconds)

    def failed(self, error: BaseException) -> None:
        """The stage ended with an error."""
        self._reporter.stage_failed(self._call, error)

    def _show(self, percent: float) -> None:
        with suppress(PrefectException, OSError):
            if self._bar is None:
                created = create_progress_artifact(
                    progress=percent, description=f"{self._call.stage}, iteration {self._call.iteration}"
                )
                self._bar = created if isinstance(created, UUID) else None
            else:
                update_progress_artifact(self._bar, progress=percent)
