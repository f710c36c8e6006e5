"""The end of a log, for a message that says why somebody's program did not start."""

from pathlib import Path
from typing import Final

from spar_core.secrets import redacted_text

_LINES: Final = 15


def log_end(log: Path) -> str:
    """Its last lines, secrets left out; empty where there is no log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return redacted_text("\n".join(lines[-_LINES:]))
