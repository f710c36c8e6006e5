"""Trainings that run in processes of their own: found, waited for, started by one that can be killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spar_core.training import TrainingSpec


def workers(spec: TrainingSpec) -> list[int]:
    """Processes that train this spec."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if "spar_core.training.worker" in words and str(spec.work / "spec.json") in words:
            found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def wait_until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_another_process(spec: TrainingSpec, file: Path) -> "subprocess.Popen[bytes]":
    """Have a process of its own call `train`."""
    file.write_text(spec.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from spar_core.training import TrainingSpec, train; "
        "train(TrainingSpec.model_validate_json(Path(sys.argv[1]).read_text()))"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(file)])
