"""End a subprocess with all that it started."""

import os
import signal
import subprocess

_TERMINATE_SECONDS = 5.0


def stop_group(process: "subprocess.Popen[bytes]") -> None:
    """Terminate, then kill, the session that `process` leads; returns when it is reaped. Nothing if it has ended.

    torchrun passes SIGTERM on to its workers; those that miss it end by themselves when it is gone.
    """
    if process.poll() is not None:
        return
    _signal(process.pid, signal.SIGTERM)
    try:
        process.wait(_TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return
