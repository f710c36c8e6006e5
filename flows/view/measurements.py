"""Measurements as pages tell them apart: a benchmark, a role, the weights, and how they were asked."""

from typing import Any, NamedTuple

from flows.view.reader import Reader, Rows
from spar_core.evaluation.settings import settings_words

MEASUREMENT = "model_digest || CASE settings WHEN '' THEN '' ELSE '.' || left(md5(settings), 8) END"
"""SQL of a measurement's id: the weights, and where they were not asked as usual, how."""
_MODELS = (
    "SELECT digest, arg_min(role || '/' || version, version) AS model, min(version) AS version FROM models GROUP BY 1"
)


class Measurement(NamedTuple):
    """`model` is a registered name (`actor/3`), null for weights of elsewhere; `n` counts rows."""

    id: str
    model_digest: str
    role: str
    settings: str
    model: str | None
    iteration: int | None
    n: int

    @property
    def name(self) -> str:
        """`actor/3, iteration 2`, or the beginning of a digest; how it was asked, where that is not the standard."""
        parts = [self.model or self.model_digest[:8]]
        parts += [] if self.iteration is None else [f"iteration {self.iteration}"]
        return ", ".join([*parts, *([settings_words(self.settings)] if self.settings else [])])


class Scored(NamedTuple):
    """The scores of one benchmark and role: metrics in order, measurements in order, rows by both.

    `items_of`: by score, the metric of the items it is made of, where there is one.
    """

    benchmark: str
    role: str
    metrics: list[str]
    measurements: list[Measurement]
    cells: dict[tuple[str, str], dict[str, Any]]
    items_of: dict[str, str]


def all_scores(reader: Reader) -> list[Scored]:
    """Every benchmark's scores that are not of one kind, level or subset; the most thorough one of each measurement."""
    rows = reader.rows(
        f"SELECT DISTINCT ON (benchmark, role, id, metric) e.*, {MEASUREMENT} AS id, m.model, m.version "
        f"FROM eval_scores e LEFT JOIN ({_MODELS}) m ON m.digest = e.model_digest "
        "WHERE (NOT contains(metric, '/') OR regexp_matches(metric, '/pass[@^][0-9]+$')) "
        "AND value IS NOT NULL AND NOT isnan(value) ORDER BY benchmark, role, id, metric, n DESC, iteration"
    )
    tables: dict[tuple[str, str], Rows] = {}
    for row in rows:
        tables.setdefault((row["benchmark"], row["role"]), []).append(row)
    known: dict[str, set[str]] = {}
    for row in reader.rows("SELECT DISTINCT benchmark, metric FROM eval_items WHERE item_id <> ''"):
        known.setdefault(row["benchmark"], set()).add(row["metric"])
    return [_scored(*place, found, known.get(place[0], set())) for place, found in sorted(tables.items())]


def measured(reader: Reader, benchmark: str) -> dict[str, list[Measurement]]:
    """What there are items of, by metric: measurements in the order of iterations and versions."""
    rows = reader.rows(
        f"SELECT e.*, m.model, m.version FROM (SELECT {MEASUREMENT} AS id, model_digest, role, settings, metric, "
        "min(iteration) AS iteration, count(*) AS n FROM eval_items "
        "WHERE benchmark = ? AND item_id <> '' GROUP BY ALL) e "
        f"LEFT JOIN ({_MODELS}) m ON m.digest = e.model_digest",
        [benchmark],
    )
    found: dict[str, list[Measurement]] = {}
    for row in sorted(rows, key=_order):
        found.setdefault(row["metric"], []).append(_measurement(row))
    return dict(sorted(found.items(), key=lambda entry: ("/" in entry[0], entry[0])))


def _scored(benchmark: str, role: str, rows: Rows, of_items: set[str]) -> Scored:
    ordered = sorted(rows, key=_order)
    measurements = {row["id"]: _measurement(row) for row in reversed(ordered)}
    metrics = sorted({row["metric"] for row in rows}, key=lambda metric: ("/" in metric, metric))
    cells = {(row["metric"], row["id"]): row for row in rows}
    bases = {metric: metric.partition("/pass")[0].removesuffix("_rate").removesuffix("_truth") for metric in metrics}
    items_of = {metric: base for metric, base in bases.items() if base in of_items}
    return Scored(benchmark, role, metrics, list(reversed(measurements.values())), cells, items_of)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    iteration, version = row["iteration"], row["version"]
    return (iteration is None, iteration or 0, version is None, version or 0, row["id"], row["metric"])


def _measurement(row: dict[str, Any]) -> Measurement:
    names = ("id", "model_digest", "role", "settings", "model", "iteration", "n")
    return Measurement(*(row[name] for name in names))
