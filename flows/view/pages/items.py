"""The page of one item of a benchmark: two models' answers side by side, every verdict, and what a judge wrote."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.benchmarking.item_rows import ItemAnswer, answer_of
from flows.view.measurements import MEASUREMENT, Measurement, measured
from flows.view.pages.evaluation import Pairing, items_of, pairing_of, prompts_by_name
from flows.view.reader import Reader, Rows
from flows.view.rendering import missing, reader_of, render
from flows.view.rules import Rule, is_right, rules_of
from flows.view.word_diff import Piece, word_diff
from spar_core.hashing import content_id
from storage import places

_MOST = 400  # measured rows of one item that a page shows
_ONE = "(item_id = ? OR cluster_id = ? OR starts_with(item_id, ? || '#'))"


class ShownAnswer(NamedTuple):
    """An answer, the checker's verdicts where rules say what it must keep, and what changed against another."""

    answer: ItemAnswer
    rules: list[Rule]
    right: bool | None
    diff: list[Piece] | None


def item(request: Request) -> Response:
    """One item: what two models answered and how it was judged, and its values under all of them."""
    name, item_id, reader = request.path_params["benchmark"], request.path_params["item_id"], reader_of(request)
    rows = reader.rows(
        f"SELECT DISTINCT ON (id, metric, item_id, sample) *, {MEASUREMENT} AS id FROM eval_items "
        f"WHERE benchmark = ? AND {_ONE} ORDER BY id, metric, item_id, sample, iteration LIMIT {_MOST}",
        [name, item_id, item_id, item_id],
    )
    if not rows:
        raise missing(f"{name} has no item {item_id} in this home")
    by_metric = measured(reader, name)
    pairing = pairing_of(request, reader, name, by_metric)
    prompt = _prompt(reader, name, [item_id, *{row["cluster_id"] for row in rows}])
    sides = _sides(reader, pairing, rows, prompt)
    previous, following = items_of(pairing).neighbours(request, reader, "item_id", item_id)
    shown = {
        "name": name,
        "item_id": item_id,
        "prompt": prompt,
        "pairing": pairing,
        "measured": by_metric[pairing.metric],
        "pairs": list(zip_longest(*sides)),
        "values": _values(rows, by_metric),
        "previous": previous,
        "next": following,
        "kept": {key: value for key, value in request.query_params.items() if key != "page"},
        "up": places.benchmark(name, **{**pairing.query, **dict(request.query_params)}),
    }
    return render(request, "item.html", shown)


def _prompt(reader: Reader, benchmark: str, names: list[str]) -> dict[str, Any] | None:
    found = reader.one(
        f"SELECT prompt FROM ({prompts_by_name(benchmark)}) WHERE list_contains(?, key) ORDER BY list_position(?, key)",
        [names, names],
    )
    if found is None:
        return None
    return reader.one("SELECT * FROM eval_prompts WHERE prompt_id = ?", [found["prompt"]["prompt_id"]])


def _sides(
    reader: Reader, pairing: Pairing, rows: Rows, prompt: Mapping[str, Any] | None
) -> tuple[list[ShownAnswer], list[ShownAnswer]]:
    """Both models' answers in order of their samples; those of the second are held against the first's."""
    texts = _texts(reader, rows, prompt)
    before, after = (_answers(pairing, side, rows, texts) for side in (pairing.first, pairing.second))
    first = [_shown(answer, None, prompt) for answer in before]
    if pairing.first == pairing.second:
        return first, []
    pairs = zip_longest(after, before[: len(after)])
    return first, [_shown(answer, other, prompt) for answer, other in pairs if answer is not None]


def _texts(reader: Reader, rows: Rows, prompt: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The answers and rewrites that items are about, by their id."""
    ids = [row["response_id"] for row in rows if row["response_id"]]
    columns = "text, thought, finish_reason, model_digest"
    found = reader.rows(
        f"SELECT DISTINCT ON (id) * FROM (SELECT response_id AS id, sample_index, {columns} FROM eval_responses "
        "WHERE list_contains(?, response_id) OR prompt_id = ? UNION ALL "
        "SELECT node_id, 0, response, thought, finish_reason, '' FROM eval_tree_nodes WHERE list_contains(?, node_id)) "
        f"ORDER BY id LIMIT {_MOST}",
        [ids, "" if prompt is None else prompt["prompt_id"], ids],
    )
    return {row["id"]: row for row in found}


def _answers(pairing: Pairing, side: Measurement, rows: Rows, texts: Mapping[str, dict[str, Any]]) -> list[ItemAnswer]:
    """What one measurement says of the item, by answer; of held-out prompts that the metric is about alone."""
    own = [row for row in rows if row["id"] == side.id and _same_metric(row["metric"], pairing.metric)]
    older = {
        content_id("eval", pairing.benchmark, pairing.metric, side.model_digest, name): name for name in texts
    }  # items of older versions do not say which answer they are about
    grouped: dict[tuple[int, str], Rows] = {}
    for row in own:
        response_id = row["response_id"] or older.get(row["item_id"], "")
        sample = texts[response_id]["sample_index"] if response_id in texts else row["sample"]
        grouped.setdefault((sample, response_id), []).append(row)
    if grouped and not any(response_id for _, response_id in grouped):
        alone = [name for name, text in texts.items() if text["model_digest"] == side.model_digest]
        grouped = {(sample, alone[0] if len(alone) == 1 else ""): found for (sample, _), found in grouped.items()}
    return [answer_of(*which, found, texts.get(which[1])) for which, found in sorted(grouped.items())]


def _same_metric(metric: str, asked: str) -> bool:
    """Verdicts of one answer stand together, but held-out texts are measured by metric: each is about other texts."""
    related = ("prompt_", "instruction_")
    hard = ("hard", "soft")
    if metric == asked or (metric.startswith(related) and asked.startswith(related)):
        return True
    return (metric in hard and asked in hard) or metric.rpartition("/")[0] == asked.rpartition("/")[0] != ""


def _shown(answer: ItemAnswer, other: ItemAnswer | None, prompt: Mapping[str, Any] | None) -> ShownAnswer:
    rules = (
        [] if prompt is None or answer.response is None or answer.instructions else rules_of(prompt, answer.response)
    )
    both = answer.response is not None and other is not None and other.response is not None
    diff = word_diff(other.response or "", answer.response or "") if both and other is not None else None
    return ShownAnswer(answer, rules, is_right(rules), diff)


def _values(rows: Rows, by_metric: Mapping[str, list[Measurement]]) -> list[dict[str, Any]]:
    """The item's value by metric and measurement: the mean where there are several."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for row in rows:
        values.setdefault(row["metric"], {}).setdefault(row["id"], []).append(row["value"])
    table = []
    for metric, measurements in by_metric.items():
        for measurement in measurements:
            if measurement.id in values.get(metric, {}):
                found = values[metric][measurement.id]
                known = [value for value in found if value is not None]
                mean = sum(known) / len(known) if known else None
                table.append({"metric": metric, "measurement": measurement, "value": mean, "n": len(found)})
    return table


ROUTES: list[BaseRoute] = [Route("/evaluation/{benchmark}/{item_id:path}", item)]
