"""From one layout of a home to the next, in place. Each step may be cut off and done again."""

import re
from pathlib import Path

from storage.disk import read_json, write_json

_OWN_MODEL = re.compile(r"/(artifacts/stage=[^/]+/stage_key=([^/]+)/model)$")


def migrate(root: Path) -> None:
    """Bring a home without a record, as versions before layout 1 left it, to layout 1: its own paths become relative.

    Raises:
        StorageError: the home cannot be written.
    """
    for file in sorted(root.glob("runs/*/models/*.json")):
        entry = read_json(file)
        if entry is None:
            continue  # the ledger says what it cannot read
        uri = _relative(root, str(entry.get("uri")), entry.get("train_stage_key"))
        if uri != entry.get("uri"):
            write_json(file, entry | {"uri": uri})


def _relative(root: Path, uri: str, trained_by: object) -> str:
    """The home may have been moved since: a model that this home's own training made lies in this home."""
    if Path(uri).is_relative_to(root):
        return str(Path(uri).relative_to(root))
    found = _OWN_MODEL.search(uri)
    return found[1] if found and found[2] == trained_by and (root / found[1]).is_dir() else uri
