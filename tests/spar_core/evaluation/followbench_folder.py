"""A FollowBench folder small enough to score by hand: content holds one rule-scored and one judged group."""

import json
from pathlib import Path

CATEGORIES = ("content", "situation", "style", "format", "mixed", "example")


def _rows(category: str, example_id: int, source: str, target: str, first_level: int = 0) -> list[dict[str, object]]:
    return [
        {
            "example_id": example_id,
            "category": category,
            "source": source,
            "level": level,
            "instruction": f"{category} {example_id} wish {level}",
            "target": target if level else "",
        }
        for level in range(first_level, 6)
    ]


def write_followbench(folder: Path) -> Path:
    for language_folder in ("data", "data_zh"):
        (folder / language_folder).mkdir(parents=True)
        for category in CATEGORIES:
            rows: list[dict[str, object]] = []
            if category == "content":
                rows = _rows(category, 1, "E2E", "exact") + _rows(category, 2, "sharegpt", "")
            if category == "example":
                rows = _rows(category, 1, "boolq", "{instruction}\n<{answer}>", first_level=1)
            path = folder / language_folder / f"{category}_constraints.json"
            path.write_text(json.dumps(rows), encoding="utf-8")
    return folder
