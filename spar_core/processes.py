"""Processes of this machine, told apart beyond their pid and ended reliably. Standard library only."""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_POLL_S = 0.05
# Fields of /proc/PID/stat counted after the command's closing parenthesis.
_STATE, _PARENT, _GROUP, _SESSION, _START = 0, 1, 2, 3, 19
_ENDED = "ZX"  # ended, but not yet collected by its parent


class ProcessStat(NamedTuple):
    """What the system says of a process: `start` in clock ticks since boot, so that a pid's next life differs."""

    pid: int
    state: str
    session: int
    start: str


def process_mark(pid: int) -> str:
    """Name of a running process, "pid:start", that its successor with the same pid does not share.

    Without /proc it is the bare pid and a colon; likewise for a process that is gone.
    """
    found = _stat(pid)
    return f"{pid}:{found.start if found else ''}"


def pid_of(mark: str) -> int:
    """The pid in a mark."""
    return int(mark.partition(":")[0])


def mark_runs(mark: str) -> bool:
    """Whether the process of this mark still runs; one that was killed but not yet collected does not."""
    pid = pid_of(mark)
    if _PROC.is_dir():
        found = _stat(pid)
        return found is not None and found.state not in _ENDED and f"{pid}:{found.start}" == mark
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def session_marks(session: int) -> list[str]:
    """Marks of the running processes of a session, its leader included (Linux; elsewhere the leader's alone)."""
    if not _PROC.is_dir():
        return [process_mark(session)] if mark_runs(process_mark(session)) else []
    stats = (_stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [
        f"{found.pid}:{found.start}"
        for found in stats
        if found is not None and found.session == session and found.state not in _ENDED
    ]


def end_processes(marks: Iterable[str], patience_s: float) -> bool:
    """SIGTERM to processes, SIGKILL to those that still run after `patience_s`. Says whether all are gone.

    A pid that has passed to another process in the meantime is left alone.
    """
    running = _signalled(marks, signal.SIGTERM) if patience_s > 0 else list(marks)
    deadline = time.monotonic() + patience_s
    while (running := [mark for mark in running if mark_runs(mark)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    running = _signalled(running, signal.SIGKILL)
    deadline = time.monotonic() + 5.0  # a killed process that holds a device's memory takes a moment to go
    while (running := [mark for mark in running if mark_runs(mark)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return not running


def _signalled(marks: Iterable[str], number: signal.Signals) -> list[str]:
    running = [mark for mark in marks if mark_runs(mark)]
    for mark in running:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid_of(mark), number)
    return running


def _stat(pid: int) -> ProcessStat | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessStat(pid, fields[_STATE], int(fields[_SESSION]), fields[_START])
