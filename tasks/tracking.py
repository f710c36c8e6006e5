"""Training curves and scores to MLflow, batched; a curve that cannot be logged never stops a training."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from storage.artifacts import ArtifactRef
from storage.home import Home
from storage.tracking import Point, Tracker
from tasks.calls import StageCall

_FLUSH_SECONDS = 2.0
_log = logging.getLogger(__name__)


class Curves:
    """The curves of one training. Whatever goes wrong with MLflow is a warning: hours of training are worth more."""

    def __init__(self, tracking: "Tracking", call: StageCall) -> None:
        self._tracking = tracking
        self._call = call
        self._points: list[Point] = []
        self._flushed = time.monotonic()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point; written now and then."""
        self._points.append(Point(step, metrics))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting; what cannot be written now is tried again with the next points."""
        with self._forgiving():
            self._tracker.log_points(self._mlflow_run, self._points)
            self._points.clear()
        self._flushed = time.monotonic()

    def finish(self, data: ArtifactRef, summary: Mapping[str, float]) -> None:
        """The training ended well: its data and its figures."""
        self.flush()
        with self._forgiving():
            self._tracker.log_dataset(self._mlflow_run, data, "training")
            self._tracker.log_metrics(self._mlflow_run, summary)
            self._tracker.close(self._mlflow_run, "completed")

    @property
    def _tracker(self) -> Tracker:
        return self._tracking.tracker

    @cached_property
    def _mlflow_run(self) -> str:
        call = self._call
        return self._tracker.open_stage(call.run_id, call.iteration or 0, call.stage, call.key)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a database can raise, the training can do without it
            _log.warning("%s: a curve was not logged: %s: %s", self._call.stage, type(error).__name__, error)


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
        return Curves(self, call)
