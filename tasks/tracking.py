"""Training curves and scores to MLflow, batched; a curve that cannot be logged never stops a training."""

import logging
import time
from collections.abc import Mapping
from functools import cached_property

from spar_core.errors import StorageError
from storage.artifacts import ArtifactRef
from storage.home import Home
from storage.tracking import Point, Tracker
from tasks.calls import StageCall

_FLUSH_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Curves:
    """The curves of one training."""

    def __init__(self, tracker: Tracker, call: StageCall) -> None:
        self._tracker = tracker
        self._mlflow_run = tracker.open_stage(call.run_id, call.iteration or 0, call.stage, call.key)
        self._points: list[Point] = []
        self._flushed = time.monotonic()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point; written now and then."""
        self._points.append(Point(step, metrics))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        try:
            self._tracker.log_points(self._mlflow_run, self._points)
        except StorageError as error:
            _log.warning("a training curve was not logged: %s", error)
        self._points.clear()
        self._flushed = time.monotonic()

    def finish(self, data: ArtifactRef, summary: Mapping[str, float]) -> None:
        """The training ended well: its data and its figures."""
        self.flush()
        self._tracker.log_dataset(self._mlflow_run, data, "training")
        self._tracker.log_metrics(self._mlflow_run, summary)
        self._tracker.close(self._mlflow_run, "completed")


class Tracking:
    """MLflow of one home, connected at first use (its import takes seconds)."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @cached_property
    def tracker(self) -> Tracker:
        """The connection."""
        return Tracker(self._home)

    def curves(self, call: StageCall) -> Curves:
        """Where a training's metrics go."""
        return Curves(self.tracker, call)
