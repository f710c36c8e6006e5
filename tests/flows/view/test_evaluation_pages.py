"""Pages of benchmarks over a made home: two models, one of them asked in two ways, items that flip, hostile texts."""

import html
import json
import re
from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from flows.view.app import make_app
from flows.view.filters import told
from spar_core.hashing import content_id
from spar_core.records import Constraint, EvalItem, EvalScore, Prompt, Response
from storage.artifacts import ArtifactStore, Provenance
from storage.entries import ModelEntry, StageRun
from storage.home import Home
from storage.ledger import Ledger
from tests.flows.view.made_home import HOSTILE

RUN = "eval-ifeval-1"
SAMPLED = '{"samples":2,"seed":0,"temperature":0.7}'
# Values of prompt_strict of items 1, 2, 3, 4 under the first and the second model, asked greedily.
BEFORE, AFTER = (0.0, 1.0, 0.0, 1.0), (1.0, 0.0, 0.0, None)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("measured"))
    home.settle()
    ledger = Ledger(home)
    ledger.open_run(RUN, {})
    _put(home, "benchmark_prompts", eval_prompts=[_prompt(name) for name in "1234"] + [_judged_prompt(), _held_out()])
    for number, (model, values) in enumerate((("old", BEFORE), ("new", AFTER))):
        items = [_item(model, name, value) for name, value in zip("1234", values, strict=True)]
        parts = [_part(model, "1", "punctuation:no_comma", values[0]), _part(model, "1", "startend:quotation", 1.0, 1)]
        answers = [_answer(model, name) for name in "123"]
        score = EvalScore("ifeval", "actor", model, "prompt_strict", 0.5 + number / 4, 0.3, 0.9, 4)
        _put(
            home,
            f"benchmark_measures-{model}",
            eval_items=[*items, *parts],
            eval_responses=answers,
            eval_scores=[score],
        )
        ledger.record_model(_model(model, number))
    sampled = [_item("new", "1", float(sample), SAMPLED, sample) for sample in (0, 1)]
    scores = [
        EvalScore("ifeval", "actor", "new", metric, 0.5, 0.2, 0.8, 2000, SAMPLED)
        for metric in ("prompt_strict", "prompt_strict/pass^2")
    ]
    tries = [_answer("new", "1", sample, f"sampled-{sample}") for sample in (0, 1)]
    _put(home, "benchmark_measures-sampled", eval_items=sampled, eval_responses=tries, eval_scores=scores)
    detail = json.dumps({"judge_text": HOSTILE, "scored_by": "judge j"})
    judged = EvalItem("followbench-en", "actor", "new", "en/a/1/1", "en/a/1", "hard", 1.0, detail)
    older = content_id("eval", "self_play", "accuracy", "new", "held-answer")
    held = EvalItem("self_play", "actor", "new", older, "h", "accuracy", 0.0, '{"broken": ["a:b"], "kinds": ["a:b"]}')
    answer = Response("held-answer", "h", 0, "held out answer", "stop", 1, 1, "new", 0)
    _put(home, "benchmark_verdicts", eval_items=[judged, held], eval_responses=[answer])
    ledger.close_run(RUN, "completed", "")
    with TestClient(make_app(home), base_url="http://127.0.0.1") as client:
        yield client


def _put(home, stage, **tables):
    store, now = ArtifactStore(home), datetime.now(UTC)
    with store.part(stage, stage, 0) as part:
        for table, rows in tables.items():
            part.write(table, rows)
        part.account(rows_in=1, rows_out=1)
    ref = store.commit(stage, stage, provenance=Provenance())
    Ledger(home).record_stage(
        StageRun(
            **{"run_id": RUN, "iteration": None, "stage": stage, "stage_key": stage, "state": "completed"},
            **{"rows_in": 1, "rows_out": 1, "seconds": 1.0, "artifact_uri": ref.uri, "started": now, "ended": now},
        )
    )


def _prompt(name):
    kinds = ("punctuation:no_comma", "startend:quotation") if name == "1" else ("punctuation:no_comma",)
    constraints = tuple(Constraint(kind) for kind in kinds)
    return Prompt(f"p{name}", f"question {name} {HOSTILE}", constraints, "test", f"ifeval/{name}")


def _judged_prompt():
    return Prompt("pj", "a judged question", (), "test", "followbench/en/a/1/1")


def _held_out():
    return Prompt("h", "a held-out question", (Constraint("punctuation:no_comma"),), "test", "starter/iid")


def _item(model, name, value, settings="", sample=0):
    answer = f"sampled-{sample}" if settings else f"{model}-{name}"
    detail = f"valued {value}" if value is not None else "prompt_too_long"
    given = "" if value is None else answer
    return EvalItem("ifeval", "actor", model, name, name, "prompt_strict", value, detail, settings, sample, given)


def _part(model, name, kind, value, place=0):
    metric = f"instruction_strict/{kind}"
    return EvalItem("ifeval", "actor", model, f"{name}#{place}", name, metric, value, response_id=f"{model}-{name}")


def _answer(model, name, sample=0, response_id=""):
    text, finish = f"answer {name} of {model} {HOSTILE}", "length" if (model, name) == ("new", "3") else "stop"
    return Response(response_id or f"{model}-{name}", f"p{name}", sample, text, finish, 1, 1, model, 0, "a thought")


def _model(digest, number):
    return ModelEntry(
        **{"run_id": RUN, "role": "actor", "iteration": number, "name": "actor", "version": number + 1},
        **{"uri": "models/none", "digest": digest, "parent_digest": None, "train_stage_key": None},
    )


def _listed(client, query=""):
    page = client.get(f"/evaluation/ifeval?metric=prompt_strict{query}")
    assert page.status_code == 200
    return re.findall(r'<a class="id" href="/evaluation/ifeval/(\d)', page.text)


def test_scores_of_other_settings_stand_in_columns_of_their_own(pages):
    page = pages.get("/evaluation").text
    table = page[page.index(">ifeval<") : page.index("</table>")]
    assert table.count("<th>") == 4  # the metric, the first model, the second, and the second asked otherwise
    assert "temperature 0.7, 2 samples, seed 0" in table
    assert table.index("actor/1") < table.index("actor/2")
    strict = re.search(r"prompt_strict</a></td>(.*?)</tr>", table)[1]
    assert re.findall(r'figure">([\d.]+)', strict) == ["50.0", "75.0", "50.0"]
    # Items lie behind a pass^k too: those of the metric it is made of.
    assert '<a href="/evaluation/ifeval?metric=prompt_strict">prompt_strict/pass^2</a>' in table


def test_what_flipped_with_the_paired_difference(pages):
    page = pages.get("/evaluation/ifeval?metric=prompt_strict").text
    # Items 1, 2 and 3 are scored by both: one better, one worse, one the same.
    assert re.search(r'figure">\+0\.0 \[-[\d.]+, \+[\d.]+\]</span> points over 3 common items', page)
    assert "1 items became better" in page
    assert "1 worse" in page


@pytest.mark.parametrize(
    ("query", "items"),
    [
        ("", list("1234")),
        ("&show=flipped", ["1", "2"]),
        ("&show=better", ["1"]),
        ("&show=worse", ["2"]),
        ("&show=right", ["1"]),
        ("&show=wrong", ["2", "3"]),
        ("&show=unscored", ["4"]),
        ("&show=cut", ["3"]),
        ("&kind=startend:quotation", ["1"]),
        ("&q=question+3", ["3"]),
        ("&q=prompt_too_long", ["4"]),
        ("&sort=change", ["1", "2", "3", "4"]),
        ("&sort=worst", ["2", "3", "1", "4"]),
        ("&show=nonsense", []),
        ("&q=%27%3B+DROP+TABLE+x", []),
    ],
)
def test_filters_search_and_orders(pages, query, items):
    assert _listed(pages, query) == items


def test_an_item_of_two_models_side_by_side(pages):
    page = pages.get("/evaluation/ifeval/1?metric=prompt_strict").text
    assert "<del>old </del><ins>new </ins>" in page
    assert page.index('<p class="soft">actor/1</p>') < page.index('<p class="soft">actor/2</p>')
    # The second model keeps both rules, the first breaks the comma's.
    rules = re.findall(r'<li class="(good|bad)"><b>.</b> ([\w:]+)', page)
    first, second = rules[:2], rules[2:]
    assert first == [("bad", "punctuation:no_comma"), ("good", "startend:quotation")]
    assert second == [("good", "punctuation:no_comma"), ("good", "startend:quotation")]
    assert "a thought" in page
    assert 'rel="next" href="/evaluation/ifeval/2?metric=prompt_strict"' in page
    assert 'rel="prev"' not in page


def test_the_neighbours_are_those_of_the_list_it_was_opened_from(pages):
    listing = pages.get("/evaluation/ifeval?metric=prompt_strict&show=wrong").text
    place = html.unescape(re.search(r'href="(/evaluation/ifeval/2[^"]*)"', listing)[1])
    page = pages.get(place).text
    assert re.search(r'rel="next" href="/evaluation/ifeval/3\?', page)
    assert 'rel="prev"' not in page


def test_several_answers_under_other_settings(pages):
    listing = pages.get("/evaluation/ifeval?metric=prompt_strict").text
    (sampled,) = re.findall(r'<option value="(new\.[0-9a-f]{8})"', listing)[:1]
    assert _listed(pages, f"&a={sampled}&b={sampled}&show=mixed") == ["1"]
    listing = pages.get(f"/evaluation/ifeval?metric=prompt_strict&a=new&b={sampled}&show=mixed").text
    assert "valued 0.0" in listing  # of two answers the wrong one is told of
    page = pages.get(f"/evaluation/ifeval/1?metric=prompt_strict&a=new&b={sampled}").text
    assert re.findall(r"<h3>answer (\d)", page) == ["1", "1", "2"]  # one greedy answer beside two sampled ones
    assert "no such answer" in page
    assert page.count('<span class="badge bad">prompt_strict') == 1


def test_a_judges_text_and_an_id_with_slashes(pages):
    listing = pages.get("/evaluation/followbench-en").text
    place = re.search(r'href="(/evaluation/followbench-en/[^"]*)"', listing)[1]
    page = pages.get(html.unescape(place))
    assert page.status_code == 200
    assert "a judged question" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text


def test_items_of_older_versions_find_their_answer(pages):
    page = pages.get("/evaluation/self_play/h?metric=accuracy").text
    assert "held out answer" in page
    assert "a held-out question" in page


@pytest.mark.parametrize(
    "place", ["/evaluation/ifeval", "/evaluation/ifeval/1", "/evaluation/followbench-en/en%2Fa%2F1%2F1"]
)
def test_texts_of_models_are_text(pages, place):
    text = pages.get(place).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert 'href="javascript' not in text


def test_an_items_detail_in_words():
    assert told('{"broken": ["a:b"], "kinds": ["a:b"], "said": true}') == "broken: a:b; said: True"
    assert told('{"broken": []}') == "all kept"
    assert (told("prompt_too_long"), told(None), told("[1]")) == ("prompt_too_long", "", "[1]")
