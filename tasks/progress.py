"""Progress of a stage: a bar in the Prefect UI and events for the terminal."""

import logging
from contextlib import suppress
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from storage.artifacts import ArtifactRef
from storage.manifest_figures import drop_reasons, tokens
from storage.manifests import Manifest
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

    @property
    def _place(self) -> str:
        number = self._call.iteration
        return self._call.stage if number is None else f"{self._call.stage}, iteration {number}"

    def advanced(self) -> None:
        """One more shard is finished."""
        self._done += 1
        self._reporter.stage_advanced(self._call, self._done, self._parts)
        if self._parts > 1:
            self._show(100.0 * self._done / self._parts)

    def finished(self, artifact: ArtifactRef, *, cached: bool, seconds: float) -> None:
        """The artifact is committed."""
        _log.info("%s: %s", self._place, told(artifact.manifest(), cached=cached, seconds=seconds))
        self._reporter.stage_finished(self._call, artifact, cached, seconds)

    def failed(self, error: BaseException) -> None:
        """The stage ended with an error."""
        if isinstance(error, Exception):
            _log.error("%s failed: %s: %s", self._place, type(error).__name__, error)
        else:
            _log.warning("%s interrupted", self._place)
        self._reporter.stage_failed(self._call, error)

    def _show(self, percent: float) -> None:
        with suppress(PrefectException, OSError):
            if self._bar is None:
                created = create_progress_artifact(
                    progress=percent,
                    key=artifact_key("progress", self._call.title, self._call.run_id),
                    description=self._place,
                )
                self._bar = created if isinstance(created, UUID) else None
            else:
                update_progress_artifact(self._bar, progress=percent)


def artifact_key(*parts: str) -> str:
    """The key of an artifact in Prefect, which holds small letters, digits and dashes alone."""
    name = "-".join(parts).lower()
    return "".join(character if character.isalnum() else "-" for character in name).strip("-")


def told(manifest: Manifest, *, cached: bool, seconds: float) -> str:
    """What became of a stage, in one line."""
    dropped = sum(manifest.drops.values())
    rows = f"{manifest.rows_in} rows in, {manifest.rows_out} out, {dropped} dropped"
    reasons = f" ({drop_reasons(manifest)})" if dropped else ""
    how = "cached" if cached else f"computed in {seconds:.1f} s"
    count = tokens(manifest)
    return f"{rows}{reasons}; {how}" + (f", {count} tokens" if count is not None and not cached else "")
