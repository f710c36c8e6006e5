"""A benchmark of its own file: what docs/evaluation.md shows, in the form a user would write it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from spar_core.benchmarks.checked import CheckedBenchmark, CheckedItem
from spar_core.evaluation.data_sources import Source


class Capitals(CheckedBenchmark):
    """Is the capital named, and is nothing else said?"""

    name = "capitals"
    summary = "a rule: `named`, `alone`"
    source = Source("Capitals: public domain", (Path("capitals.jsonl"),))
    headlines = ("named", "alone")

    def read(self, path: Path) -> Iterator[CheckedItem]:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield CheckedItem(row["country"], f"What is the capital of {row['country']}?", row["capital"])

    def check(self, item: CheckedItem, answer: str) -> Mapping[str, bool]:
        return {"named": item.expected in answer, "alone": answer.strip() == item.expected}


BENCHMARK = Capitals()
