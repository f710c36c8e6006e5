"""Made chats in Multi-IF's columns."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = ["turns", "responses", "key", "turn_index", "language"]
COLUMNS += [f"turn_{turn}_{name}" for turn in (1, 2, 3) for name in ("prompt", "instruction_id_list", "kwargs")]


def chat(key: str, language: str, *turns: Sequence[Any]) -> dict[str, str]:
    """A row. A turn is its text, its instructions, and their arguments where they have any."""
    row = dict.fromkeys(COLUMNS, "") | {"key": key, "language": language}
    for number, (text, kinds, *given) in enumerate(turns, 1):
        arguments = given[0] if given else [{}] * len(kinds)
        row[f"turn_{number}_prompt"] = json.dumps({"role": "user", "content": text})
        row[f"turn_{number}_instruction_id_list"] = json.dumps(kinds)
        row[f"turn_{number}_kwargs"] = json.dumps([json.dumps(each) for each in arguments])
    return row


def write_csv(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """The rows where a local folder has them."""
    path = folder / "multi_if" / "multiIF_20241018.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path
