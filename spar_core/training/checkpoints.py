"""Whether a checkpoint is as it was written: a seal, written last, holds what can be seen of its files in a moment.

Checkpoints of large models are as large as these, so their bytes are not read as a whole: the seal holds every file's
size and a digest of its two ends, where files that were cut, emptied or overwritten differ.
"""

import json
from pathlib import Path

from spar_core.hashing import digest

_SEAL = "complete"
_END_BYTES = 65_536


def seal(folder: Path) -> None:
    """Note that the checkpoint in `folder` is written in full."""
    partial = folder / f"{_SEAL}.partial"
    partial.write_text(json.dumps(_seen(folder)), encoding="utf-8")
    partial.replace(folder / _SEAL)


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint was written in full and nothing has become of its files since."""
    try:
        noted = (folder / _SEAL).read_text(encoding="utf-8")
        return not noted or json.loads(noted) == _seen(folder)  # of before seals had contents: empty
    except (OSError, ValueError):
        return False


def _seen(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(_SEAL))
    return {str(path.relative_to(folder)): _ends(path) for path in files}


def _ends(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_END_BYTES)
        file.seek(max(0, size - _END_BYTES))
        tail = file.read(_END_BYTES)
    return digest([size, head.hex(), tail.hex()])
