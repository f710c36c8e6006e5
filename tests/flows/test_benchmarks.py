"""Benchmarks on a scripted model: stages, unscored items, judges, and what the catalogue holds."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from flows.benchmarking.request import BenchmarkRequest
from flows.benchmarking.session import BenchmarkSession
from flows.benchmarks import result_of, scores_of
from spar_core.errors import ConfigError, DataError, EngineError
from storage.artifacts import ArtifactRef
from storage.catalog import open_catalog
from storage.home import Home
from tasks.bookkeeping import LedgerEntry
from tasks.calls import StageCall
from tasks.runtime import Runtime
from tasks.stages import Stage
from tests.chat_server import chat_server

_DATA = Path(__file__).parents[1] / "spar_core" / "evaluation"
_IFEVAL = [
    ("Say hi", ["punctuation:no_comma", "startend:quotation"]),
    ("Say long", ["punctuation:no_comma"]),
    ("TOO LONG", ["punctuation:no_comma"]),
]
ENGINE = ("engine.kind=scripted", "engine.script=tests.flows.scripted_benchmark:answer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "ifeval").mkdir(parents=True)
    rows = [
        {"key": key, "prompt": text, "instruction_id_list": kinds, "kwargs": [{} for _ in kinds]}
        for key, (text, kinds) in enumerate(_IFEVAL)
    ]
    (data / "ifeval" / "input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runpy.run_path(str(_DATA / "llmbar_folder.py"))["write_llmbar"](data / "llmbar")
    runpy.run_path(str(_DATA / "followbench_folder.py"))["write_followbench"](data / "followbench")
    return data


@pytest.fixture
def bench(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A benchmark's stages run one after another, without Prefect."""

    def run(self: Stage, call: StageCall, **_: object) -> ArtifactRef:
        entry = LedgerEntry(Runtime.of(call.home).ledger, call)
        artifact = self.compute(call)
        entry.completed(artifact, cached=False)
        return artifact

    monkeypatch.setattr(Stage, "run", run)

    def make(benchmark: str, script: str = ENGINE[1], **options: Any) -> BenchmarkSession:
        request = BenchmarkRequest(
            benchmark=benchmark,
            model=options.pop("model", "starter"),
            home=str(tmp_path / "home"),
            data_dir=str(folder),
            overrides=(ENGINE[0], script, "orchestration.shard_size=4", "evaluation.prompts=4", "evaluation.samples=1"),
            **options,
        )
        return BenchmarkSession(request, Home(request.home), request.configuration())

    return make


def _by_metric(scores: list[Any]) -> dict[str, Any]:
    return {score.metric: score for score in scores}


def test_a_refused_prompt_is_unscored_with_its_reason(bench, tmp_path):
    run = bench("ifeval")
    scores = _by_metric(scores_of(run, "ifeval"))
    # hello: no comma, no quotation marks. a, b: a comma. The third was never answered.
    assert (scores["prompt_strict"].value, scores["prompt_strict"].n) == (0.0, 2)
    assert scores["instruction_strict"].value == pytest.approx(1 / 3)
    assert scores["prompt_strict/unscored"].value == pytest.approx(1 / 3)
    assert scores["instruction_strict/unscored"].value == pytest.approx(1 / 4)
    with open_catalog(Home(tmp_path / "home")) as catalog:
        items = catalog.rows("SELECT * FROM eval_items WHERE metric = 'prompt_strict' ORDER BY item_id")
        drops = catalog.rows("SELECT reason FROM drops")
    assert [(item["value"], item["detail"]) for item in items] == [(0.0, ""), (0.0, ""), (None, "prompt_too_long")]
    assert {item["run_id"] for item in items} == {run.run_id}
    assert drops == [{"reason": "prompt_too_long"}]
    assert run.notes == [
        "the prompts are not the published ones of ifeval; scores are not comparable with published figures"
    ]


def test_what_is_refused_as_a_whole_is_not_measured_and_the_rest_goes_on(bench, folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "ifeval" / "input_data.jsonl").read_text().splitlines()]
    refused = [row for row in rows if "TOO LONG" in row["prompt"]]
    (tmp_path / "refused.jsonl").write_text("".join(json.dumps(row) + "\n" for row in refused))
    run = bench("ifeval", prompts=str(tmp_path / "refused.jsonl"))
    assert scores_of(run, "ifeval") == []
    assert {score.benchmark for score in scores_of(run, "starter")} == {"starter"}
    assert list(run.unmeasured) == ["ifeval"]
    assert "the engine refused every request (1 prompt_too_long)" in run.unmeasured["ifeval"]
    (note,) = [note for note in result_of(run, []).notes if "not measured" in note]
    assert note.startswith("ifeval is not measured: stage benchmark_answers-ifeval: the engine refused")


def test_other_prompts_come_without_licence_or_warning(bench, folder):
    run = bench("ifeval", prompts=str(folder / "ifeval" / "input_data.jsonl"), limit=1)
    assert _by_metric(scores_of(run, "ifeval"))["prompt_strict"].n == 1
    assert (run.notes, run.licences) == ([], [])


def test_followbench_by_rule_and_by_judge(bench, tmp_path):
    run = bench("followbench", judge="starter", languages=("en",))
    scores = _by_metric(scores_of(run, "followbench"))
    # Level 1: the rule's group is exact, the judge says YES. Above it the judge should have listed words.
    assert (scores["hsr/content/1"].value, scores["hsr/content/1"].n) == (1.0, 2)
    assert (scores["hsr/content/2"].value, scores["hsr/content/2"].n) == (1.0, 1)
    assert scores["hsr/content/2/unscored"].value == 0.5
    assert run.judge_name == "starter"
    assert any("judge (starter) is the model under test" in note for note in run.notes)
    with open_catalog(Home(tmp_path / "home")) as catalog:
        judged = catalog.rows("SELECT detail FROM eval_items WHERE item_id = 'en/content/2/2' AND metric = 'hard'")
    detail = json.loads(judged[0]["detail"])
    assert detail == {"judge_text": "YES", "reason": "judge_not_in_form", "scored_by": "judge starter"}


def test_followbench_wants_a_judge(bench):
    with pytest.raises(ConfigError, match="--judge"):
        bench("followbench")


def test_llmbar_by_votes_and_by_comparison(bench):
    scores = _by_metric(scores_of(bench("llmbar"), "llmbar"))
    # Votes: the first output always wins, in both orders; half of the labels say so.
    assert scores["Votes/accuracy/overall"].value == 0.5
    assert scores["Votes/agreement/overall"].value == 1.0
    # ours-Vanilla: whatever stands first wins, so the orders never agree.
    assert scores["ours-Vanilla/accuracy/overall"].value == 0.5
    assert scores["ours-Vanilla/agreement/overall"].value == 0.0
    assert scores["ours-Vanilla/judge_truncated"].value == 0.0
    assert {score.role for score in scores.values()} == {"refiner"}


def test_an_unknown_strategy_is_refused(bench):
    with pytest.raises(ConfigError, match="unknown LLMBar strategy 'Best'"):
        scores_of(bench("llmbar", strategies=("Best",)), "llmbar")


def test_single_rewrites_against_tree_search(bench):
    scores = _by_metric(scores_of(bench("refinement"), "refinement"))
    # Every first rewrite is wrong, the others are right: only the tree, with three of them, mends.
    assert (scores["single"].value, scores["single"].n) == (0.0, 4)
    assert (scores["tree"].value, scores["tree"].n) == (1.0, 4)
    assert scores["tree_minus_single"].value == 1.0
    # By the stricter rule as well: what is right was accepted, what is wrong was not.
    assert (scores["single_accepted"].value, scores["tree_accepted"].value) == (0.0, 1.0)
    assert (scores["tree_minus_single_accepted"].value, scores["first_rewrite"].value) == (1.0, 0.0)
    assert scores["judged_right_by_mistake"].value == 0.0


def test_held_out_accuracy(bench, tmp_path):
    scores = _by_metric(scores_of(bench("starter", refiner="starter"), "starter"))
    assert (scores["accuracy"].value, scores["accuracy"].n) == (0.0, 4)
    assert (scores["fix_rate"].value, scores["truncated"].value) == (1.0, 0.0)
    with open_catalog(Home(tmp_path / "home")) as catalog:
        found = catalog.rows("SELECT DISTINCT benchmark FROM eval_scores")
    assert found == [{"benchmark": "starter"}]


def test_a_hosted_judge_with_a_key_judges_followbench(bench, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "right-canary")
    with chat_server(lambda _: "YES", token="right-canary") as server:
        run = bench("followbench", judge=f"{server.url}#gpt&key=JUDGE_KEY&concurrency=2", languages=("en",))
        scores = _by_metric(scores_of(run, "followbench"))
        assert server.authorizations == {"Bearer right-canary"}
        assert {chat["model"] for chat in server.chats} == {"gpt"}
    # As in the test above, where the scripted judge says YES too.
    assert (scores["hsr/content/1"].value, scores["hsr/content/1"].n) == (1.0, 2)
    assert run.judge_name == "gpt"


@pytest.mark.parametrize("place", ["judge", "refiner", "model"])
def test_a_wrong_key_is_told_by_the_name_of_its_variable(bench, monkeypatch, place):
    monkeypatch.setenv("JUDGE_KEY", "wrong-canary")
    with chat_server(token="right") as server:
        with pytest.raises(EngineError, match="JUDGE_KEY") as refused:
            bench("followbench", **{"judge": "starter", place: f"{server.url}#gpt&key=JUDGE_KEY"})
        with pytest.raises(ConfigError, match=r"variable NO_SUCH_KEY \(api_key_env\) is not set"):
            bench("followbench", **{"judge": "starter", place: f"{server.url}#gpt&key=NO_SUCH_KEY"})
    assert "wrong-canary" not in str(refused.value)


def test_one_stated_identity_needs_one_server(bench):
    with pytest.raises(ConfigError, match="2 are named"):
        bench("followbench", model="http://a/v1#m", judge="http://b/v1#m", model_digest="weights")


def test_a_prompt_without_an_answer_fails_ifbench_as_it_does_in_a_file(bench, folder):
    (folder / "ifbench").mkdir()
    (folder / "ifbench" / "IFBench_test.jsonl").write_bytes((folder / "ifeval" / "input_data.jsonl").read_bytes())
    scores = _by_metric(scores_of(bench("ifbench"), "ifbench"))
    # The third prompt is refused: no instruction of it counts as met.
    assert (scores["prompt_strict"].value, scores["prompt_strict"].n) == (0.0, 3)
    assert (scores["instruction_strict"].value, scores["instruction_strict"].n) == (0.25, 4)
    assert scores["unanswered"].value == pytest.approx(1 / 3)


def test_cut_answers_are_counted_and_told(bench):
    run = bench("ifeval", max_tokens=2)
    scores = scores_of(run, "ifeval")
    # Of hello and "a, b" the first was cut; the third prompt has no answer that could be.
    assert _by_metric(scores)["truncated"].value == 0.5
    result = result_of(run, scores)
    (note,) = [note for note in result.notes if "cut" in note]
    assert note.startswith("ifeval: 1 of 2 answers (50.0 %) were cut at the token limit")
    assert "--max-tokens" in note


def test_bad_prompts_are_left_out_where_that_is_asked(bench, folder):
    path = folder / "ifeval" / "input_data.jsonl"
    bad = {"key": 9, "prompt": "Bad", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"commas": 3}]}
    path.write_text(path.read_text() + json.dumps(bad) + "\n")
    with pytest.raises(DataError, match="line 4: "):
        scores_of(bench("ifeval"), "ifeval")
    run = bench("ifeval", skip_bad=True)
    scores = scores_of(run, "ifeval")
    assert _by_metric(scores)["prompt_strict"].n == 2
    assert any("1 bad rows are left out; the first: " in note and "line 4" in note for note in run.notes)
    result = result_of(run, scores)
    assert result.left_out == {"bad_row": 1, "prompt_too_long": 1}
    assert result.data["ifeval"]["left_out"] == 1


def test_a_published_name_means_ours_until_the_published_prompts_are_given(bench, tmp_path):
    run = bench("llmbar", strategies=("Vanilla",))
    assert "ours-Vanilla/accuracy/overall" in _by_metric(scores_of(run, "llmbar"))
    assert any("our wording, not the published prompt: not comparable" in note for note in run.notes)
    prompts = tmp_path / "prompts" / "comparison"
    prompts.mkdir(parents=True)
    text = "<|im_start|>user\n# Output (a)\n{input} {output_1} {output_2}<|im_end|>"
    (prompts / "Vanilla.txt").write_text(text)
    run = bench("llmbar", strategies=("Vanilla",), judge_prompts=str(tmp_path / "prompts"))
    assert _by_metric(scores_of(run, "llmbar"))["Vanilla/agreement/overall"].value == 0.0
    assert any("judged with the published prompt in" in note for note in run.notes)


def test_followbench_says_whose_words_asked_the_judge(bench):
    run = bench("followbench", judge="starter", languages=("zh",))
    scores_of(run, "followbench")
    assert any("followbench-zh: the judge is asked in this project's wording" in note for note in run.notes)


def test_the_record_of_a_run_says_what_was_asked_how_and_of_what(bench):
    run = bench("ifeval", limit=2, max_tokens=7)
    record = result_of(run, scores_of(run, "ifeval")).plain(run.request)
    assert (record["benchmark"], record["run_id"], record["limit"]) == ("ifeval", run.run_id, 2)
    assert (record["sampling"]["max_tokens"], record["sampling"]["temperature"]) == (7, 0.0)
    assert record["seed"] == run.config.seed
    assert record["data"]["ifeval"]["published"] is False
    assert record["versions"]["nltk"]
    assert record["request"]["model"] == "starter"
    assert record["warnings"]


def test_a_benchmark_of_a_users_own_file_is_asked_scored_and_kept(bench, folder, tmp_path, monkeypatch):
    from spar_core.benchmarks import register, registry

    monkeypatch.setattr(registry, "_registered", {})
    own = runpy.run_path(str(Path(__file__).parents[1] / "spar_core" / "benchmarks" / "capitals.py"))["BENCHMARK"]
    register(own)
    rows = [{"country": "TOO LONG", "capital": "x"}, {"country": "hello", "capital": "hello"}]
    (folder / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = bench("capitals")
    scores = _by_metric(scores_of(run, "capitals"))
    assert (scores["alone"].value, scores["alone"].n, scores["unanswered"].value) == (1.0, 1, 0.5)
    with open_catalog(Home(tmp_path / "home")) as catalog:
        items = catalog.rows("SELECT item_id, value, detail FROM eval_items WHERE metric = 'named' ORDER BY item_id")
    assert [(row["item_id"], row["value"], row["detail"]) for row in items] == [
        ("TOO LONG", None, "prompt_too_long"),
        ("hello", 1.0, ""),
    ]
