"""A training must not outlive the process that asked for it, even when that process is killed with SIGKILL."""

import os
import threading
import time
from pathlib import Path

PARENT_VARIABLE = "SPAR_TRAINING_PARENT"
"""Environment variable with the asking process as "pid:start", set by the launcher for all descendants."""
_CHECK_SECONDS = 0.5
_EXIT_CODE = 143  # as after SIGTERM
_START_TIME_FIELD = 19  # field 22 of /proc/PID/stat, counted after the command's closing parenthesis


def process_mark(pid: int) -> str:
    """Name of a running process that its successor with the same pid does not share (Linux); else the bare pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return f"{pid}:"
    return f"{pid}:{fields[_START_TIME_FIELD]}"


def end_with_parent() -> None:
    """Start a daemon thread that ends this process when the launcher, or the process that forked it, is gone.

    A pipe or PR_SET_PDEATHSIG would not reach the workers that torchrun starts in sessions of their own.
    """
    asked_by = os.environ.get(PARENT_VARIABLE)
    if asked_by is not None:
        threading.Thread(target=_watch, args=(asked_by, os.getppid()), daemon=True).start()


def _watch(asked_by: str, forked_by: int) -> None:
    pid = int(asked_by.partition(":")[0])
    while _alive(pid) and process_mark(pid) == asked_by and os.getppid() == forked_by:
        time.sleep(_CHECK_SECONDS)
    os._exit(_EXIT_CODE)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
