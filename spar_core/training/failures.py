"""Turn the log of a failed training into one sentence and a remedy."""

import re
import signal
from itertools import takewhile
from pathlib import Path

from spar_core.secrets import redacted_text

_TAIL_BYTES = 64_000
_SHOWN_LINES = 8
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|can't allocate memory|not enough memory|MemoryError|std::bad_alloc", re.IGNORECASE
)
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_RANK = re.compile(r"^\[rank\d+\]:\s?")
_ERROR_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*")
_OF_LAUNCHER = re.compile(r"ChildFailedError|CalledProcessError")
_EXIT_CODE = re.compile(r"exitcode\s*:")
_KILLED_RANK = re.compile(r"Signal 9 \(SIGKILL\) received by PID")
_NOT_JOINED = re.compile(r"DistStoreError|RendezvousTimeoutError|Timed out .*clients? joined")
_LESS_MEMORY = (
    "lower micro_batch_size, set gradient_checkpointing: true, train LoRA adapters (lora:), share the model out over "
    "several devices (launch.sharding: full), or keep it in CPU memory (launch.offload: true)."
)


def explain_failure(log: Path, start: int, returncode: int) -> str:
    """One paragraph: what happened, what to do, and the last meaningful lines written after byte `start`."""
    text = _tail(log, start)
    if _OUT_OF_MEMORY.search(text):
        return f"the training ran out of memory; {_LESS_MEMORY}"
    if _DISK_FULL.search(text):
        return "the disk is full; free space and run again, training continues from its last checkpoint."
    if _NOT_JOINED.search(text):
        return (
            "the machines did not all meet: start the same command on each of launch.nodes (SPAR_NODE_RANK 1, 2, ... "
            "on the others), and see that launch.rendezvous is the first one's address and its port is open."
        )
    if returncode == -signal.SIGKILL or _KILLED_RANK.search(text):
        return f"the training was killed (SIGKILL), most often by the system because memory ran out; {_LESS_MEMORY}"
    if returncode < 0:
        return f"the training was ended by signal {-returncode}; run again, it continues from its last checkpoint."
    lines = meaningful_lines(text)
    return f"the training failed (exit code {returncode}): " + " | ".join(lines)


def meaningful_lines(text: str) -> list[str]:
    """The first error line with what follows it, without stack frames; else the last lines."""
    lines = [_RANK.sub("", line.rstrip()) for line in text.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if _ERROR_LINE.match(line)]
    # torchrun ends with an error of its own, which says of its workers only that they failed.
    if errors and _OF_LAUNCHER.search(lines[errors[0]]):
        codes = [line.strip() for line in lines if _EXIT_CODE.match(line.strip())]
        began = next((index for index, line in enumerate(lines) if line.startswith("Traceback")), errors[0])
        return [line.strip() for line in [*lines[:began][-_SHOWN_LINES:], *codes]] or [lines[errors[0]].strip()]
    if not errors:
        return [line.strip() for line in lines[-_SHOWN_LINES:]]
    after = lines[errors[0] : errors[0] + _SHOWN_LINES]
    return [line.strip() for line in takewhile(lambda line: not line.startswith(("Traceback", "  File ")), after)]


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(start, size - _TAIL_BYTES))
        return redacted_text(handle.read().decode("utf-8", "replace"))
