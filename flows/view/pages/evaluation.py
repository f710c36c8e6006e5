"""Pages of measurements: scores of all benchmarks, their items under each model, and which items flipped."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister
from flows.view.reader import Reader
from flows.view.rendering import missing, reader_of, render
from flows.view.rules import is_right, rules_of
from spar_core.evaluation.comparison import Observation, paired_change
from storage import places

_MODEL = (
    "SELECT digest, arg_min(role || '/' || version, version) AS model, min(version) AS version FROM models GROUP BY 1"
)


def scores(request: Request) -> Response:
    """Every benchmark's scores, model by model."""
    rows = reader_of(request).rows(
        "SELECT DISTINCT ON (benchmark, role, model_digest, metric) e.*, m.model FROM eval_scores e "
        f"LEFT JOIN ({_MODEL}) m ON m.digest = e.model_digest WHERE NOT contains(metric, '/') AND value IS NOT NULL "
        "AND NOT isnan(value) ORDER BY benchmark, role, model_digest, metric, n DESC"
    )
    tables: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["benchmark"], row["role"], row["metric"], row["iteration"] or 0)):
        tables.setdefault((row["benchmark"], row["role"]), []).append(row)
    return render(request, "evaluation.html", {"tables": tables})


def benchmark(request: Request) -> Response:
    """A benchmark's items under its models, and which flipped between two of them."""
    name, reader = request.path_params["benchmark"], reader_of(request)
    models = reader.rows(
        "SELECT e.model_digest, e.role, e.metric, m.model, m.version, min(iteration) AS iteration, count(*) AS n "
        f"FROM eval_items e LEFT JOIN ({_MODEL}) m ON m.digest = e.model_digest "
        "WHERE benchmark = ? AND item_id <> '' GROUP BY ALL "
        "ORDER BY e.role, e.metric, iteration, m.version, e.model_digest",
        [name],
    )
    if not models:
        raise missing(f"nothing was measured by {name} in this home")
    metric = request.query_params.get("metric") or models[0]["metric"]
    measured = [row for row in models if row["metric"] == metric]
    ids = [row["model_digest"] for row in measured]
    first, second = (_chosen(request, place, ids, default) for place, default in (("a", 0), ("b", -1)))
    key = _pairing(reader, name, metric, first, second)
    lister = _items(name, metric, first, second, key)
    listing = lister.asked(request, reader)
    chosen = {"metric": metric, "a": first, "b": second, **listing.values, "sort": listing.sort}
    shown = {
        "name": name,
        "metric": metric,
        "metrics": list(dict.fromkeys(row["metric"] for row in models)),
        "measured": measured,
        "first": first,
        "second": second,
        "lister": lister,
        "listing": listing,
        "with_page": lambda number: places.benchmark(name, **chosen, page=str(number)),
        "change": None if first == second else _change(reader, name, metric, first, second, key),
    }
    return render(request, "benchmark.html", shown)


def item(request: Request) -> Response:
    """One item: what every model answered, where answers are kept, and how it was judged."""
    name, item_id, reader = request.path_params["benchmark"], request.path_params["item_id"], reader_of(request)
    rows = reader.rows(
        f"SELECT DISTINCT e.*, m.model FROM eval_items e LEFT JOIN ({_MODEL}) m ON m.digest = e.model_digest "
        "WHERE benchmark = ? AND (item_id = ? OR cluster_id = ?) ORDER BY role, metric, iteration, item_id LIMIT 200",
        [name, item_id, item_id],
    )
    if not rows:
        raise missing(f"{name} has no item {item_id} in this home")
    clusters = list({row["cluster_id"] for row in rows})
    prompt = reader.one("SELECT * FROM eval_prompts WHERE list_contains(?, prompt_id)", [[item_id, *clusters]])
    answers = reader.rows(
        "SELECT DISTINCT ON (response_id) r.*, m.model FROM eval_responses r "
        f"LEFT JOIN ({_MODEL}) m ON m.digest = r.model_digest WHERE list_contains(?, response_id) OR prompt_id = ? "
        "ORDER BY response_id, iteration LIMIT 200",
        [[item_id, *clusters], "" if prompt is None else prompt["prompt_id"]],
    )
    for row in answers:
        row["rules"] = [] if prompt is None else rules_of(prompt, row["text"])
        row["right"] = is_right(row["rules"])
    answers.sort(key=lambda row: (row["iteration"] or 0, row["sample_index"]))
    return render(
        request, "item.html", {"name": name, "item_id": item_id, "rows": rows, "prompt": prompt, "answers": answers}
    )


def _pairing(reader: Reader, name: str, metric: str, first: str, second: str) -> str:
    """By what two models' items are paired: the item, or, where items are each model's own answers, their prompt."""
    common = reader.one(
        "SELECT item_id FROM eval_items WHERE benchmark = ? AND metric = ? AND item_id <> '' AND "
        "list_contains([?, ?], model_digest) GROUP BY item_id HAVING count(DISTINCT model_digest) > 1",
        [name, metric, first, second],
    )
    return "item_id" if common is not None or first == second else "cluster_id"


def _items(name: str, metric: str, first: str, second: str, key: str) -> Lister:
    """The items that either of two models was measured on."""
    both = " UNION ALL ".join(
        f"SELECT {key} AS item_id, any_value(cluster_id) AS cluster_id, avg(value) AS value, "
        f"any_value(detail) AS detail, {place} AS place FROM eval_items "
        f"WHERE benchmark = {_quoted(name)} AND metric = {_quoted(metric)} AND "
        f"model_digest = {_quoted(digest)} AND item_id <> '' GROUP BY {key}"
        for place, digest in ((1, first), (2, second))
    )
    rows = (
        "SELECT item_id, any_value(cluster_id) AS cluster_id, max(value) FILTER (place = 1) AS before, "
        "max(value) FILTER (place = 2) AS after, any_value(detail) FILTER (place = 2) AS detail, "
        f"any_value(t.text) AS text FROM ({both}) i LEFT JOIN (SELECT prompt_id, any_value(text) AS text FROM "
        "eval_prompts GROUP BY 1) t ON t.prompt_id = i.cluster_id OR t.prompt_id = i.item_id GROUP BY item_id"
    )
    changed = {  # where a prompt has several answers, a value is their mean
        "better": "after > before",
        "worse": "after < before",
        "flipped": "after <> before",
        "right": "after >= 0.5",
        "wrong": "after < 0.5",
        "unscored": "after IS NULL",
    }
    return Lister(
        rows,
        [
            Choice("q", "Prompt or detail holds", "concat(text, ' ', detail) ILIKE ? ESCAPE '\\'", like=True),
            Choice("show", "Items", "", fixed=tuple((key, key) for key in changed), conditions=changed),
        ],
        {"item": "item_id", "change": "abs(after - before) DESC NULLS LAST, item_id"},
        f"/evaluation/{name}",
    )


def _change(reader: Reader, name: str, metric: str, first: str, second: str, key: str) -> dict[str, Any]:
    """The paired difference of two models with its interval, and how many items flipped."""
    sides = []
    for digest in (first, second):
        rows = reader.rows(
            f"SELECT {key} AS item_id, cluster_id, avg(value) AS value FROM eval_items WHERE benchmark = ? "
            "AND metric = ? AND model_digest = ? AND item_id <> '' AND value IS NOT NULL GROUP BY ALL",
            [name, metric, digest],
        )
        sides.append([Observation(row["item_id"], row["cluster_id"], row["value"]) for row in rows])
    before = {entry.key: entry.value for entry in sides[0]}
    after = {entry.key: entry.value for entry in sides[1]}
    common = before.keys() & after.keys()
    return {
        "estimate": paired_change(*sides),
        "better": sum(after[key] > before[key] for key in common),
        "worse": sum(after[key] < before[key] for key in common),
        "common": len(common),
    }


def _chosen(request: Request, place: str, ids: list[str], default: int) -> str:
    asked = request.query_params.get(place, "")
    return asked if asked in ids else ids[default]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


ROUTES: list[BaseRoute] = [
    Route("/evaluation", scores),
    Route("/evaluation/{benchmark}", benchmark),
    Route("/evaluation/{benchmark}/{item_id:path}", item),
]
