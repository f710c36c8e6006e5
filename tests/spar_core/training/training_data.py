"""Small data sets for trainings."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["red", "blue", "green", "a cat", "a dog", "yes", "no", "it is so"]


def pair_rows(count: int) -> list[dict[str, str]]:
    """Pairs of differing lengths."""
    return [
        {
            "pair_id": f"p{i}",
            "prompt": f"say {WORDS[i % 8]}?",
            "chosen": WORDS[(i + i // 8) % 8],
            "rejected": WORDS[(i + 3) % 8] + " no",
        }
        for i in range(count)
    ]


def example_rows(count: int) -> list[dict[str, object]]:
    """Two-turn chats of differing lengths."""
    return [
        {
            "example_id": f"e{i}",
            "messages": [
                {"role": "user", "content": f"say {WORDS[i % 8]}?"},
                {"role": "assistant", "content": WORDS[(i + i // 8) % 8]},
            ],
        }
        for i in range(count)
    ]


def write_parquet(file: Path, rows: list[dict[str, object]] | list[dict[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file
