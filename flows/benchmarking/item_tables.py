"""The items of an evaluation as tables of its MLflow run, one per benchmark. What goes wrong is a warning."""

import logging
from collections.abc import Iterable
from typing import Any

from flows.benchmarking.item_rows import ItemAnswer, ItemRow, item_rows
from storage.catalog import open_catalog
from storage.home import Home
from tasks.runtime import Runtime

MOST_ROWS = 5000
"""Answers of a benchmark that a table holds; `spar eval --items` writes all."""
_TEXT = 4000  # characters of a cell: MLflow loads a table whole
_log = logging.getLogger(__name__)


def publish_items(home: Home, run_id: str) -> None:
    """Keep prompt, answer and verdicts of every measured item with the MLflow run, as `items/BENCHMARK.json`."""
    try:
        with open_catalog(home) as catalog:
            found = tables(item_rows(catalog, run_id))
        tracker = Runtime.of(str(home.root)).tracking.tracker
        mlflow_run = tracker.open_run(run_id)
        for benchmark, rows in found.items():
            tracker.log_table(mlflow_run, f"items/{benchmark}", rows)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with showing them, they are measured
        _log.warning("the items of %s are not shown in MLflow: %s: %s", run_id, type(error).__name__, error)


def tables(items: Iterable[ItemRow]) -> dict[str, list[dict[str, Any]]]:
    """One row per answer, by benchmark: the first `MOST_ROWS` of each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        rows = found.setdefault(item.benchmark, [])
        rows += [_row(item, answer) for answer in item.answers[: MOST_ROWS - len(rows)]]
    return found


def _row(item: ItemRow, answer: ItemAnswer) -> dict[str, Any]:
    broken = [entry.kind for entry in answer.instructions if 0 in entry.verdicts.values()]
    return {
        "item": item.key,
        "role": item.role,
        "sample": answer.sample,
        "prompt": _cut(item.prompt),
        "answer": _cut(answer.response),
        "right": answer.right,
        **answer.verdicts,
        "broken": ", ".join(broken),
        "judge": _cut(answer.judge_text),
        "finish_reason": answer.finish_reason,
    }


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= _TEXT else f"{text[:_TEXT]} [...]"
