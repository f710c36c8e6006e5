"""A training must not outlive the process that asked for it, even when that process is killed with SIGKILL."""

import os
import platform
import threading
import time

from spar_core.processes import mark_runs, process_mark

PARENT_VARIABLE = "SPAR_TRAINING_PARENT"
"""Environment variable with the asking process as "pid:start@machine", set by the launcher for all descendants."""
_CHECK_SECONDS = 0.5
_EXIT_CODE = 143  # as after SIGTERM


def own_mark() -> str:
    """This process, as its descendants know it."""
    return f"{process_mark(os.getpid())}@{platform.node()}"


def end_with_parent() -> None:
    """Start a daemon thread that ends this process when the launcher, or the process that forked it, is gone.

    A pipe or PR_SET_PDEATHSIG would not reach the workers that torchrun starts in sessions of their own.
    """
    asked_by = os.environ.get(PARENT_VARIABLE)
    if asked_by is not None:
        threading.Thread(target=_watch, args=(asked_by, os.getppid()), daemon=True).start()


def _watch(asked_by: str, forked_by: int) -> None:
    mark, _, machine = asked_by.partition("@")
    # A launcher may carry the variable to other machines, where the pid means nothing: there the forking one is enough.
    here = machine == platform.node()
    while (not here or mark_runs(mark)) and os.getppid() == forked_by:
        time.sleep(_CHECK_SECONDS)
    os._exit(_EXIT_CODE)
