"""Pages of measurements: scores of all benchmarks, and a benchmark's items under two of its models."""

from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister
from flows.view.measurements import MEASUREMENT, Measurement, all_scores, measured
from flows.view.reader import Reader, Rows
from flows.view.rendering import missing, reader_of, render
from spar_core.evaluation.comparison import Observation, paired_change
from spar_core.evaluation.measures import BENCHMARK as SELF_PLAY
from storage import places

_LENGTH = "finish_reason = 'length'"
_CHANGED = {  # where an item has several answers, a value is their mean
    "flipped": "after <> before",
    "better": "after > before",
    "worse": "after < before",
    "right": "after >= 0.5",
    "wrong": "after < 0.5",
    "mixed": "after > 0 AND after < 1",
    "unscored": "after IS NULL",
}
_SAID = {
    "flipped": "flipped",
    "better": "flipped to better",
    "worse": "flipped to worse",
    "right": "right after",
    "wrong": "wrong after",
    "mixed": "right and wrong answers",
    "unscored": "unscored after",
    "cut": "cut after",
}


class Pairing(NamedTuple):
    """Two measurements of one metric, and the column by which their items are paired."""

    benchmark: str
    metric: str
    first: Measurement
    second: Measurement
    key: str

    @property
    def query(self) -> dict[str, str]:
        """What of an address says it."""
        return {"metric": self.metric, "a": self.first.id, "b": self.second.id}


def scores(request: Request) -> Response:
    """Every benchmark's scores, model by model."""
    return render(request, "evaluation.html", {"tables": all_scores(reader_of(request))})


def benchmark(request: Request) -> Response:
    """A benchmark's items under its models, and which flipped between two of them."""
    name, reader = request.path_params["benchmark"], reader_of(request)
    by_metric = measured(reader, name)
    pairing = pairing_of(request, reader, name, by_metric)
    lister = items_of(pairing)
    listing = lister.asked(request, reader)
    chosen = {**pairing.query, **listing.values, "sort": listing.sort}
    shown = {
        "name": name,
        "pairing": pairing,
        "metrics": list(by_metric),
        "measured": by_metric[pairing.metric],
        "lister": lister,
        "listing": listing,
        "cut": _cut(reader, listing.page.rows),
        "with_page": lambda number: places.benchmark(name, **chosen, page=str(number)),
        "item_place": lambda item_id: places.item(name, item_id, **chosen),
        "change": None if pairing.first == pairing.second else _change(reader, pairing),
    }
    return render(request, "benchmark.html", shown)


def pairing_of(request: Request, reader: Reader, name: str, by_metric: dict[str, list[Measurement]]) -> Pairing:
    """The metric and the two measurements that an address asks for; the first and the last where it says nothing."""
    if not by_metric:
        raise missing(f"nothing was measured by {name} in this home")
    metric = request.query_params.get("metric", "")
    metric = metric if metric in by_metric else next(iter(by_metric))
    known = by_metric[metric]
    # The first and the last of one role asked in one way: other ways are other measurements.
    alike = [entry for entry in known if (entry.role, entry.settings) == (known[0].role, known[0].settings)]
    asked = {entry.id: entry for entry in known}
    first = asked.get(request.query_params.get("a", ""), alike[0])
    second = asked.get(request.query_params.get("b", ""), alike[-1])
    return Pairing(name, metric, first, second, _key(reader, name, metric, first.id, second.id))


def _key(reader: Reader, name: str, metric: str, first: str, second: str) -> str:
    """By what two models' items are paired: the item, or, where items are each model's own answers, their prompt."""
    if first == second:
        return "item_id"
    common = reader.one(
        f"SELECT item_id FROM eval_items WHERE benchmark = ? AND metric = ? AND item_id <> '' AND "
        f"list_contains([?, ?], {MEASUREMENT}) GROUP BY item_id HAVING count(DISTINCT {MEASUREMENT}) > 1",
        [name, metric, first, second],
    )
    return "item_id" if common is not None else "cluster_id"


def prompts_by_name(benchmark: str) -> str:
    """SQL of prompts by what items call them: their id, and a benchmark's own name (their source is BENCHMARK/NAME)."""
    whole = "{'prompt_id': prompt_id, 'text': text, 'constraints': constraints}"
    names = (
        f"CASE WHEN {_is_of(benchmark)} THEN [prompt_id, substr(source, strpos(source, '/') + 1)] ELSE [prompt_id] END"
    )
    return (
        "SELECT key, any_value(prompt) AS prompt FROM "
        f"(SELECT unnest({names}) AS key, {whole} AS prompt FROM eval_prompts) GROUP BY key"
    )


def items_of(pairing: Pairing) -> Lister:
    """The items that either of two models was measured on; the detail is that of the second's worst answer."""
    first, second = (f"{MEASUREMENT} = {_quoted(side.id)}" for side in (pairing.first, pairing.second))
    place = f"benchmark = {_quoted(pairing.benchmark)} AND metric = {_quoted(pairing.metric)} AND item_id <> ''"
    cut = (
        f"item_id IN (SELECT {pairing.key} FROM eval_items SEMI JOIN "
        f"(SELECT response_id FROM eval_responses WHERE {_LENGTH}) USING (response_id) WHERE {place} AND {second})"
    )
    rows = f"""
        WITH named AS ({prompts_by_name(pairing.benchmark)}),
        sides AS (SELECT {pairing.key} AS item_id, any_value(cluster_id) AS cluster_id,
            avg(value) FILTER ({first}) AS before, avg(value) FILTER ({second}) AS after,
            coalesce(arg_min(detail, value) FILTER ({second}), any_value(detail) FILTER ({second})) AS detail,
            list(response_id) FILTER ({second}) AS answers
            FROM eval_items WHERE {place} AND ({first} OR {second}) GROUP BY {pairing.key})
        SELECT i.*, coalesce(p.prompt, c.prompt).text AS text, coalesce(p.prompt, c.prompt).constraints AS constraints
        FROM sides i LEFT JOIN named p ON p.key = i.item_id LEFT JOIN named c ON c.key = i.cluster_id"""
    of_benchmark = "" if pairing.benchmark == SELF_PLAY else f"WHERE {_is_of(pairing.benchmark)}"
    kinds = (
        f"SELECT DISTINCT c.kind AS value FROM (SELECT unnest(constraints) AS c FROM eval_prompts {of_benchmark}) "
        "ORDER BY 1"
    )
    return Lister(
        rows,
        [
            Choice("q", "Prompt or detail holds", "concat(text, ' ', detail) ILIKE ? ESCAPE '\\'", like=True),
            Choice("show", "Items", "", fixed=tuple(_SAID.items()), conditions={**_CHANGED, "cut": cut}),
            Choice("kind", "Constraint", "list_contains(list_transform(constraints, lambda c: c.kind), ?)", kinds),
        ],
        {
            "item": "item_id",
            "change": "abs(after - before) DESC NULLS LAST, item_id",
            "worst": "after NULLS LAST, item_id",
        },
        f"/evaluation/{pairing.benchmark}",
    )


def _cut(reader: Reader, rows: Rows) -> set[str]:
    """Which of a page's items have an answer that the token limit cut."""
    answers = [name for row in rows for name in row["answers"] or ()]
    found = reader.rows(
        f"SELECT response_id FROM eval_responses WHERE {_LENGTH} AND list_contains(?, response_id)", [answers]
    )
    cut = {row["response_id"] for row in found}
    return {row["item_id"] for row in rows if cut.intersection(row["answers"] or ())}


def _change(reader: Reader, pairing: Pairing) -> dict[str, Any]:
    """The paired difference of two models with its interval, and how many items flipped."""
    sides: dict[str, list[Observation]] = {pairing.first.id: [], pairing.second.id: []}
    for row in reader.rows(
        f"SELECT {MEASUREMENT} AS id, {pairing.key} AS item_id, any_value(cluster_id) AS cluster_id, "
        "avg(value) AS value FROM eval_items WHERE benchmark = ? AND metric = ? AND list_contains(?, id) "
        "AND item_id <> '' AND value IS NOT NULL GROUP BY ALL ORDER BY ALL",
        [pairing.benchmark, pairing.metric, list(sides)],
    ):
        sides[row["id"]].append(Observation(row["item_id"], row["cluster_id"], row["value"]))
    first, second = sides.values()
    before, after = ({entry.key: entry.value for entry in side} for side in (first, second))
    common = before.keys() & after.keys()
    return {
        "estimate": paired_change(first, second),
        "better": sum(after[key] > before[key] for key in common),
        "worse": sum(after[key] < before[key] for key in common),
        "common": len(common),
    }


def _is_of(benchmark: str) -> str:
    """SQL of whether a prompt is a benchmark's; a language is filed as one of its own."""
    names = ", ".join(_quoted(name) for name in sorted({benchmark, benchmark.rpartition("-")[0]} - {""}))
    return f"split_part(source, '/', 1) IN ({names})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


ROUTES: list[BaseRoute] = [Route("/evaluation", scores), Route("/evaluation/{benchmark}", benchmark)]
