"""One evaluation as one self-contained page: scores, how they were measured, and every item to look into."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flows.benchmarking.item_rows import ItemRow
from flows.showing.score_rows import ScoreRow
from flows.view.rendering import templates
from flows.view.self_contained import inlined
from spar_core.benchmarks import benchmark, names
from spar_core.evaluation.settings import settings_words
from storage.disk import write_text

MOST_ITEMS = 2000  # on a page; a browser searches no more at once


class ScoreTable(NamedTuple):
    """Scores of one benchmark and role: those that sum it up, and the others."""

    title: str
    heads: Sequence[ScoreRow]
    others: Sequence[ScoreRow]


def write_evaluation_page(
    path: Path, record: Mapping[str, Any], scores: Sequence[ScoreRow], items: Sequence[ItemRow]
) -> None:
    """Write the page; it appears only when complete.

    Args:
        path: the HTML file.
        record: as `spar eval --json` prints it.
        scores: all of them.
        items: with their answers; of more than 2,000 the page shows evenly chosen ones, and says so.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, evaluation_page(record, scores, items))


def evaluation_page(record: Mapping[str, Any], scores: Sequence[ScoreRow], items: Sequence[ItemRow]) -> str:
    """The page's HTML. What models wrote is text in it; its one script is named by digest, no other runs."""
    shown = [items[place * len(items) // MOST_ITEMS] for place in range(MOST_ITEMS)] if _too_many(items) else items
    context = {
        "record": record,
        "settings": settings_words(str(record["sampling"]["settings"])) or "greedy, one answer per item",
        "sampling": {name: value for name, value in record["sampling"].items() if name not in ("settings", "system")},
        "system": record["sampling"].get("system", ""),
        "tables": _tables(scores),
        "items": shown,
        "total": len(items),
        "benchmarks": list(dict.fromkeys(item.benchmark for item in items)),
        "told": lambda value: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1),
        "inlined": inlined(["view.css", "evaluation_page.css"], ["evaluation_page.js"]),
    }
    return templates().get_template("evaluation_page.html").render(context)


def _too_many(items: Sequence[ItemRow]) -> bool:
    return len(items) > MOST_ITEMS


def _tables(scores: Sequence[ScoreRow]) -> list[ScoreTable]:
    tables = []
    for place, role in dict.fromkeys((row.place, row.role) for row in scores):
        rows = [row for row in scores if (row.place, row.role) == (place, role)]
        own = [name for name in names() if rows[0].benchmark.startswith(name)]
        headlines = benchmark(own[0]).headlines if own else ()
        heads = [row for row in rows if row.is_headline or row.metric in headlines]
        tables.append(ScoreTable(f"{rows[0].benchmark}, {role}", heads, [row for row in rows if row not in heads]))
    return tables
