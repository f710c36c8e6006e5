"""Folders being written: named after their writer, so that only those of dead writers are cleared away."""

import errno
import os
import platform
import secrets
import shutil
import time
from pathlib import Path

from spar_core.hashing import digest
from spar_core.processes import mark_runs, process_mark

TEMPORARY = ".tmp-"
_OLD_SECONDS = 7 * 24 * 3600.0  # of another machine's writer, of whom nothing else is known


def temporary_beside(final: Path) -> Path:
    """A new name beside `final`: machine, process (see `process_mark`) and chance."""
    own = f"{_machine()}-{process_mark(os.getpid())}-{secrets.token_hex(4)}"
    return final.with_name(f"{final.name}{TEMPORARY}{own}")


def remove_stale(final: Path) -> None:
    """Remove what dead writers of `final` left behind; what a living one is writing stays."""
    for folder in final.parent.glob(f"{final.name}{TEMPORARY}*"):
        if is_stale(folder):
            shutil.rmtree(folder, ignore_errors=True)


def put_in_place(temporary: Path, final: Path) -> None:
    """Rename a finished folder to `final`, in place of what was there; of two writers at once the first one counts.

    Raises:
        OSError: it cannot be renamed.
    """
    shutil.rmtree(final, ignore_errors=True)
    try:
        os.rename(temporary, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(temporary, ignore_errors=True)


def is_stale(folder: Path) -> bool:
    """Whether nobody writes this temporary folder any more."""
    fields = folder.name.rpartition(TEMPORARY)[2].split("-")
    if len(fields) == 3 and fields[0] == _machine():
        return not mark_runs(fields[1])
    try:
        return time.time() - folder.stat().st_mtime > _OLD_SECONDS
    except OSError:
        return False  # put in place meanwhile


def _machine() -> str:
    return digest(["machine", platform.node()])[:8]
