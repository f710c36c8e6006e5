"""The folder of a running training: one owner at a time, checkpoints that are whole, gone after success."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spar_core.errors import TrainingError
from spar_core.training.checkpoints import is_whole, seal

_LOCK_POLL_SECONDS = 0.1


class Workspace:
    """Files of one training under its work folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec_file = folder / "spec.json"
        self.metrics_file = folder / "metrics.jsonl"
        self.failure_file = folder / "failure.json"
        self.checkpoints = folder / "checkpoints"
        self.new_model = folder / "model"
        self.adapter = folder / "adapter"
        self._identity_file = folder / "identity"

    @contextmanager
    def owned(self, wait_seconds: float) -> Iterator[int]:
        """Hold the folder's lock; yields its descriptor, which a subprocess inherits so that it holds the lock too.

        Raises:
            TrainingError: another training still holds it after `wait_seconds`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + wait_seconds
            while not _locked(descriptor):
                if time.monotonic() > deadline:
                    raise TrainingError(
                        f"Another training is running in {self.folder}; wait for it or end it, then run again."
                    )
                time.sleep(_LOCK_POLL_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)

    def claim(self, identity: str) -> None:
        """Keep what an interrupted training of the same identity left; clear anything else."""
        known = self._identity_file.read_text(encoding="utf-8") if self._identity_file.exists() else None
        if known != identity:
            for leftover in (self.checkpoints, self.metrics_file):
                _remove(leftover)
            self._identity_file.write_text(identity, encoding="utf-8")
        for leftover in (self.new_model, self.adapter, self.failure_file):
            _remove(leftover)

    def mark_complete(self, step: int) -> None:
        """Note that the checkpoint of this step is written in full."""
        seal(self.checkpoints / f"checkpoint-{step}")

    def latest_checkpoint(self) -> Path | None:
        """Newest whole checkpoint; one whose files were damaged since it was written is none."""
        whole = [folder for folder in self.checkpoints.glob("checkpoint-*") if is_whole(folder)]
        return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)

    def record_failure(self, message: str) -> None:
        """Leave a message for the launcher."""
        self.failure_file.write_text(json.dumps({"message": message}), encoding="utf-8")

    def failure(self) -> str | None:
        """Message the worker left, if any."""
        if not self.failure_file.exists():
            return None
        return str(json.loads(self.failure_file.read_text(encoding="utf-8"))["message"])

    def remove(self) -> None:
        """Delete everything."""
        _remove(self.folder)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
