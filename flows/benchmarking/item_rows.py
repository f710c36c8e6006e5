"""What `spar eval` measured, item by item: prompt, answers, verdicts by constraint, and what a judge wrote."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from spar_core.evaluation.measures import BENCHMARK as SELF_PLAY
from spar_core.hashing import content_id
from storage.catalog import Catalog

_ITEMS = """
    SELECT benchmark, role, model_digest, item_id, cluster_id, metric, value, detail, settings, sample, response_id
    FROM eval_items WHERE run_id = ? AND item_id <> ''
    AND benchmark IN (SELECT benchmark FROM eval_scores WHERE run_id = ?)
    ORDER BY benchmark, role, model_digest, settings, cluster_id, item_id, sample, metric"""
_PART = "#"  # an item's id is KEY#2 where it is the third constraint of item KEY


class Instruction(NamedTuple):
    """A constraint of an item with its verdicts (`strict`, `loose`); `reason` where one could not be told."""

    kind: str
    verdicts: Mapping[str, float | None]
    reason: str


class ItemAnswer(NamedTuple):
    """One answer and how it was judged. `response` is null where there is none: `detail` says why."""

    sample: int
    response_id: str
    response: str | None
    thought: str
    finish_reason: str | None
    verdicts: Mapping[str, float | None]
    instructions: Sequence[Instruction]
    judge_text: str | None
    detail: Any

    @property
    def right(self) -> bool | None:
        """Whether all that was judged of the whole answer is right; null where nothing could be."""
        known = [value for value in self.verdicts.values() if value is not None]
        return all(value == 1 for value in known) if known else None


class ItemRow(NamedTuple):
    """One item under one model and one way of asking."""

    benchmark: str
    role: str
    model_digest: str
    settings: str
    key: str
    prompt_id: str | None
    prompt: str | None
    answers: Sequence[ItemAnswer]

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        answers = [
            {**answer._asdict(), "instructions": [entry._asdict() for entry in answer.instructions]}
            for answer in self.answers
        ]
        settings = json.loads(self.settings) if self.settings else {}
        return {**self._asdict(), "settings": settings, "answers": answers}


def item_rows(catalog: Catalog, run_id: str) -> Iterator[ItemRow]:
    """The items of an evaluation's run by benchmark and name; turns of a chat stand together."""
    prompts = _Prompts(
        catalog.rows("SELECT DISTINCT prompt_id, text, source FROM eval_prompts WHERE run_id = ?", [run_id])
    )
    answers = {
        row["response_id"]: row
        for row in catalog.rows(
            "SELECT response_id, prompt_id, sample_index, text, thought, finish_reason, model_digest "
            "FROM eval_responses WHERE run_id = ?",
            [run_id],
        )
    }
    own = _ids_of_old_items(answers)
    grouped: dict[tuple[str, ...], dict[tuple[int, str], list[dict[str, Any]]]] = {}
    for row in catalog.rows(_ITEMS, [run_id, run_id]):
        name, _ = prompts.of(row)
        response_id = row["response_id"] or own.get(row["item_id"], "")
        place = (row["benchmark"], row["role"], row["model_digest"], row["settings"], name)
        sample = answers[response_id]["sample_index"] if response_id in answers else row["sample"]
        grouped.setdefault(place, {}).setdefault((sample, response_id), []).append(row)
    for (benchmark, role, digest, settings, name), found in grouped.items():
        _, prompt = prompts.of(next(iter(found.values()))[0])
        rows = [answer_of(*which, group, answers.get(which[1])) for which, group in sorted(found.items())]
        prompt_id, text = (None, None) if prompt is None else (prompt["prompt_id"], prompt["text"])
        yield ItemRow(benchmark, role, digest, settings, name, prompt_id, text, rows)


def _whole(item: Mapping[str, Any]) -> str:
    """The item of which another is an instruction, else the item itself: KEY of KEY#2."""
    whole, _, part = item["item_id"].rpartition(_PART)
    inside = whole == item["cluster_id"] or whole.startswith(f"{item['cluster_id']}/")  # a turn of a chat
    return whole if inside and part.isdigit() else str(item["item_id"])


class _Prompts:
    """Prompts by their id, and by the benchmark's own name for them: their source is BENCHMARK/NAME."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._by_id = {row["prompt_id"]: row for row in rows}
        self._by_name = {tuple(row["source"].split("/", 1)): row for row in rows if "/" in row["source"]}

    def of(self, item: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """What an item is called, and its prompt where it is known."""
        benchmark = item["benchmark"]
        for name in (item["item_id"], _whole(item), item["cluster_id"]):
            if name in self._by_id:
                return name, self._by_id[name]
            for source in (benchmark, benchmark.rpartition("-")[0]):  # a language is filed as a benchmark
                if (source, name) in self._by_name:
                    return name, self._by_name[source, name]
        return item["item_id"], None


def _ids_of_old_items(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Ids of items that do not say which answer they are about, as older versions wrote them for held-out prompts."""
    return {
        content_id("eval", SELF_PLAY, "accuracy", answer["model_digest"], name): name
        for name, answer in answers.items()
    }


def answer_of(
    sample: int, response_id: str, items: Sequence[Mapping[str, Any]], answer: Mapping[str, Any] | None
) -> ItemAnswer:
    """What the rows of `eval_items` say of one answer; `answer`: its row, with `text`, `thought`, `finish_reason`."""
    verdicts, details = {}, {}
    parts: dict[str, tuple[str, dict[str, float | None], str]] = {}
    for item in items:
        if _whole(item) != item["item_id"]:
            part = item["item_id"].rpartition(_PART)[2]
            form, _, kind = item["metric"].partition("/")
            _, found, _ = parts.setdefault(part, (kind, {}, item["detail"]))
            found[form.removeprefix("instruction_")] = item["value"]
            continue
        verdicts[item["metric"]] = item["value"]
        details[item["metric"]] = _parsed(item["detail"])
    told = list(details.values())
    judged = next((entry["judge_text"] for entry in told if isinstance(entry, dict) and "judge_text" in entry), None)
    same = told[0] if told and all(entry == told[0] for entry in told) else details
    return ItemAnswer(
        sample,
        response_id,
        None if answer is None else answer["text"],
        "" if answer is None else answer["thought"] or "",
        None if answer is None else answer["finish_reason"],
        verdicts,
        [Instruction(*parts[part]) for part in sorted(parts, key=int)],
        judged,
        same or None,
    )


def _parsed(detail: str) -> Any:
    try:
        return json.loads(detail)
    except json.JSONDecodeError:
        return detail
