"""The guard of a model server, a small process that outlives its owner by seconds and ends the server with it.

`python -m spar_core.engines.server_guard RECORD.json` starts the server in a session of its own, watches the process
that asked for it, and ends the whole session when that process is gone, however it ended (SIGKILL included), or when
it is told to: SIGTERM politely, SIGINT at once. The record names every process of the server, so that even a server
whose guard was killed is found and ended by the next holder of the home (`end_orphans`). Standard library only: it
must start at once and stay small.
"""

import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from spar_core.processes import end_processes, mark_runs, process_mark, session_marks

_CHECK_S = 0.25
_SHORT_S = 0.05
_RECORD_EVERY = 8  # checks between two looks at which processes the server has by now
ORPHAN_PATIENCE_S = 3.0
"""Seconds a server whose owner is gone has to end by itself."""
STRAGGLERS_S = 3.0
"""Seconds for worker processes that notice the end of the server by themselves."""


class _Wish:
    """Whether somebody wants the server to end: `patience_s` is how long it may take over it, None while nobody does.

    SIGTERM asks politely, SIGINT or a second SIGTERM at once.
    """

    def __init__(self, patience_s: float) -> None:
        self.patience_s: float | None = None
        self._polite_s = patience_s
        signal.signal(signal.SIGTERM, self._asked)
        signal.signal(signal.SIGINT, self._asked)

    def _asked(self, number: int, _frame: object) -> None:
        polite = number == signal.SIGTERM and self.patience_s is None
        self.patience_s = self._polite_s if polite else 0.0


def main(arguments: list[str]) -> int:
    """Guard one server. Reads {command, environment, folder, owner, patience_s} as JSON from stdin.

    Returns the server's exit code; 128 + the signal's number where a signal ended it.
    """
    record = Path(arguments[0])
    task: dict[str, Any] = json.loads(sys.stdin.read())
    wish = _Wish(task["patience_s"])
    server = subprocess.Popen(
        task["command"],
        env=task["environment"],
        cwd=task["folder"],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _watch(server, task["owner"], wish, record)
    finally:
        _end(server, wish)
    with contextlib.suppress(OSError):
        record.unlink(missing_ok=True)
    code = server.wait()
    return code if code >= 0 else 128 - code


def _watch(server: "subprocess.Popen[bytes]", owner: str, wish: _Wish, record: Path) -> None:
    """Return when the server or its owner has ended, or the end is wished for; keeps the record meanwhile."""
    known: list[str] = []
    for check in itertools.count():
        if server.poll() is not None or wish.patience_s is not None or not mark_runs(owner):
            return
        if check % _RECORD_EVERY == 0:
            running = session_marks(server.pid)
            if running != known:
                with contextlib.suppress(
                    OSError
                ):  # a full disk is no reason to end a server; the next look tries again
                    _write(record, {"owner": owner, "guard": process_mark(os.getpid()), "server": server.pid}, running)
                    known = running
        time.sleep(_CHECK_S)


def _end(server: "subprocess.Popen[bytes]", wish: _Wish) -> None:
    """End the server's session. The server itself is asked first: it knows best how to end its workers."""
    asked = time.monotonic()
    if server.poll() is None:
        server.terminate()

    def has_time(at_most: float) -> bool:
        patience_s = ORPHAN_PATIENCE_S if wish.patience_s is None else wish.patience_s
        return time.monotonic() < asked + min(patience_s, at_most)

    while server.poll() is None and has_time(math.inf):
        time.sleep(_SHORT_S)
    asked = time.monotonic()
    while session_marks(server.pid) and has_time(STRAGGLERS_S):
        time.sleep(_SHORT_S)
    end_processes(session_marks(server.pid), 0.0)
    server.wait()


def _write(record: Path, entry: dict[str, Any], processes: list[str]) -> None:
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps({**entry, "boot": _boot(), "processes": processes}), encoding="utf-8")
    partial.replace(record)


def read_record(file: Path) -> dict[str, Any] | None:
    """What a guard wrote of its server; None where there is nothing, or nothing whole."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        found if isinstance(found, dict) and {"owner", "guard", "server", "boot", "processes"} <= found.keys() else None
    )


def end_recorded(file: Path, patience_s: float = 0.0) -> bool:
    """End the server of a record, its guard first, and remove the record; says whether any process was left to end.

    Safe against reuse: a process counts only with the start time that was written down, in this life of the machine.
    """
    record = read_record(file)
    left: list[str] = []
    if record is not None and record["boot"] == _boot():
        end_processes([record["guard"]], 0.0)
        left = [mark for mark in record["processes"] if mark_runs(mark)]
        # Workers started since the last look: the leader's session is still its own while a known member lives.
        left = list(dict.fromkeys([*left, *(session_marks(record["server"]) if left else [])]))
        end_processes(left, patience_s)
    file.unlink(missing_ok=True)
    return bool(left)


def end_orphans(folder: Path) -> list[str]:
    """End the servers recorded in a folder whose owner is gone; returns the names of those that still ran."""
    ended = []
    for file in sorted(folder.glob("*.json")):
        record = read_record(file)
        if record is not None and record["boot"] == _boot() and mark_runs(record["owner"]):
            continue
        if end_recorded(file, ORPHAN_PATIENCE_S):
            ended.append(file.stem)
    return ended


def _boot() -> str:
    """Which life of the machine this is: start times count from its beginning (Linux)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
