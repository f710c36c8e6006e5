"""Metrics of a running training: one JSON line per logged step, written by the worker, tailed by the launcher."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

MetricsCallback = Callable[[int, dict[str, float]], None]
"""Called with (optimiser step, metric name -> value)."""


def append_metrics(file: Path, step: int, metrics: dict[str, float]) -> None:
    """Add one line; a single write, so that a reader sees whole lines or a tail without newline."""
    line = json.dumps({"step": step, "metrics": metrics}) + "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class MetricsTail:
    """Reads the lines added since the last look, starting at the file's present end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = file.stat().st_size if file.exists() else 0

    def pass_on(self, receive: MetricsCallback) -> None:
        """Hand every new complete line to `receive`; values that are not finite are left out."""
        if not self._file.exists():
            return
        with self._file.open("rb") as handle:
            handle.seek(self._offset)
            block = handle.read()
        complete, newline, _ = block.rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        for line in complete.splitlines():
            entry = json.loads(line)
            receive(entry["step"], {k: v for k, v in entry["metrics"].items() if math.isfinite(v)})
