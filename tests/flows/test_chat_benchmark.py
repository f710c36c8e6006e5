"""Multi-IF on a scripted model: turns are asked one after another, and what that comes to."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.benchmarking.item_rows import item_rows
from flows.benchmarking.request import BenchmarkRequest
from flows.benchmarking.session import BenchmarkSession
from flows.benchmarks import scores_of
from flows.view.app import make_app
from spar_core.errors import ConfigError
from storage.artifacts import ArtifactRef
from storage.catalog import open_catalog
from storage.home import Home
from tasks.bookkeeping import LedgerEntry
from tasks.calls import StageCall
from tasks.runtime import Runtime
from tasks.stages import Stage

_CHATS = Path(__file__).parents[1] / "spar_core" / "evaluation" / "multi_if_chats.py"
COMMA, QUOTES = "punctuation:no_comma", "startend:quotation"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A benchmark's stages run one after another, without Prefect."""

    def run(self: Stage, call: StageCall, **_: object) -> ArtifactRef:
        entry = LedgerEntry(Runtime.of(call.home).ledger, call)
        artifact = self.compute(call)
        entry.completed(artifact, cached=False)
        return artifact

    monkeypatch.setattr(Stage, "run", run)
    made = runpy.run_path(str(_CHATS))
    chats = [
        made["chat"]("1:en", "English", ("Say hi", [COMMA]), ("Quote it", [COMMA, QUOTES]), ("Say bye", [COMMA])),
        made["chat"]("2:zh", "Chinese", ("TOO LONG", [COMMA]), ("Quote it", [COMMA, QUOTES])),
        made["chat"]("3:zh", "Chinese", ("One, two", [COMMA]), ("TOO LONG", [COMMA, QUOTES])),
    ]
    made["write_csv"](tmp_path / "data", chats)

    def make(**options: Any) -> BenchmarkSession:
        script = "engine.script=tests.flows.scripted_chats:answer"
        request = BenchmarkRequest(
            benchmark="multi_if",
            model="starter",
            home=str(tmp_path / "home"),
            data_dir=str(tmp_path / "data"),
            overrides=("engine.kind=scripted", script, "orchestration.shard_size=2"),
            **options,
        )
        return BenchmarkSession(request, Home(request.home), request.configuration())

    return make


def _scores(run: BenchmarkSession) -> dict[str, Any]:
    return {score.metric: score for score in scores_of(run, "multi_if")}


def _items(run: BenchmarkSession) -> dict[str, Any]:
    with open_catalog(run.home) as catalog:
        return {row.key: row for row in item_rows(catalog, run.run_id)}


def test_every_turn_is_asked_with_what_was_said_before(bench: Any) -> None:
    run = bench()
    scores = _scores(run)
    items = _items(run)
    first, second = "user: Say hi", '"user: Say hi | assistant: user: Say hi | user: Quote it"'
    assert items["1:en/1"].answers[0].response == first
    assert items["1:en/2"].answers[0].response == second
    assert items["1:en/3"].answers[0].response == (
        f"user: Say hi | assistant: {first} | user: Quote it | assistant: {second} | user: Say bye"
    )
    assert items["1:en/2"].prompt == "Quote it"
    assert [(part.kind, part.verdicts) for part in items["1:en/2"].answers[0].instructions] == [
        (COMMA, {"strict": 1.0, "loose": 1.0}),
        ("multi_if:" + QUOTES, {"strict": 1.0, "loose": 1.0}),
    ]
    # 3:zh repeats its prompt's comma and fails; 2:zh was refused. Turn 2: the other two chats were refused.
    assert (scores["turn_1/prompt_strict"].value, scores["turn_1/prompt_strict"].n) == (0.5, 2)
    assert (scores["turn_1"].value, scores["turn_2"].value, scores["turn_3"].value) == (0.5, 1.0, 1.0)
    assert scores["average"].value == pytest.approx((0.5 + 1 + 1) / 3)
    assert scores["turn_2/unscored"].value == pytest.approx(2 / 3)
    assert scores["turn_1/Chinese"].value == 0.0
    assert scores["unanswered"].value == pytest.approx(3 / 7)


def test_a_refused_turn_ends_its_chat_alone_with_the_reasons(bench: Any) -> None:
    run = bench()
    scores_of(run, "multi_if")
    items = _items(run)
    assert {name: items[name].answers[0].detail for name in ("2:zh/1", "2:zh/2", "3:zh/1", "3:zh/2")} == {
        "2:zh/1": "prompt_too_long",
        "2:zh/2": "earlier_turn_unanswered",
        "3:zh/1": None,
        "3:zh/2": "prompt_too_long",
    }
    with open_catalog(run.home) as catalog:
        rows = catalog.rows("SELECT DISTINCT cluster_id FROM eval_items WHERE run_id = ? ORDER BY 1", [run.run_id])
    assert [row["cluster_id"] for row in rows] == ["1:en", "2:zh", "3:zh"]


def test_no_chat_is_cut_apart_by_the_size_of_a_shard(bench: Any) -> None:
    run = bench()
    scores_of(run, "multi_if")
    (prompts,) = [ref for (stage, _), ref in run.artifacts.items() if stage.startswith("benchmark_prompts")]
    parts = [
        [row.source.rpartition("/")[0] for row in prompts.read("eval_prompts", part=index)]
        for index in range(len(prompts.manifest().parts))
    ]
    assert parts == [["multi_if/1:en"] * 3, ["multi_if/2:zh"] * 2, ["multi_if/3:zh"] * 2]


def test_several_samples_are_chats_of_their_own(bench: Any) -> None:
    run = bench(temperature=0.7, samples=2)
    scores = _scores(run)
    answers = _items(run)["1:en/3"].answers
    assert [answer.sample for answer in answers] == [0, 1]
    # Answered in both samples: three turns of 1:en, all right, and the first of 3:zh, wrong.
    assert (scores["prompt_strict/pass^2"].value, scores["prompt_strict/pass^2"].n) == (0.75, 4)
    assert scores["turn_1"].value == 0.5


def test_some_languages_alone_are_filed_under_a_name_of_their_own(bench: Any) -> None:
    run = bench(languages=("zh",))
    scores = scores_of(run, "multi_if")
    assert {score.benchmark for score in scores} == {"multi_if-zh"}
    assert _items(run)["3:zh/1"].prompt == "One, two"
    with pytest.raises(ConfigError, match="Multi-IF has no language 'ja'; it has en, es"):
        scores_of(bench(languages=("ja",)), "multi_if")


def test_a_system_text_stands_ahead_of_the_whole_chat(bench: Any) -> None:
    run = bench(system="Be brief", limit=1)
    scores_of(run, "multi_if")
    said = _items(run)["1:en/2"].answers[0].response
    assert said == '"system: Be brief | user: Say hi | assistant: system: Be brief | user: Say hi | user: Quote it"'


def test_the_page_of_a_turn_has_its_answer_and_every_instruction(bench: Any) -> None:
    run = bench()
    scores_of(run, "multi_if")
    client = TestClient(make_app(run.home), base_url="http://127.0.0.1")
    page = client.get("/evaluation/multi_if/1:en/2")
    assert page.status_code == 200
    assert "Quote it" in page.text
    assert "assistant: user: Say hi" in page.text
    assert all(kind in page.text for kind in (COMMA, "multi_if:" + QUOTES))
    assert "Say bye" not in page.text  # the next turn's
    assert client.get("/evaluation/multi_if").text.count("1:en/") >= 3


def test_the_note_says_what_the_data_is_not(bench: Any) -> None:
    run = bench()
    scores_of(run, "multi_if")
    assert run.notes == [
        "the chats are not as many as the published ones; scores are not comparable with published figures"
    ]
    assert run.data["multi_if"]["licence"] == "Multi-IF data: CC BY-NC 2.0, Meta (facebook/Multi-IF)"
    assert json.dumps(run.data["multi_if"]["left_out"]) == "0"
