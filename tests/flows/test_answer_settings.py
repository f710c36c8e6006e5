"""`spar eval` with settings: several answers, system text, chat template, and what of it stands with the scores."""

import json

import pytest

from flows.benchmarking.answering import check_answering, with_template
from flows.benchmarking.request import BenchmarkRequest
from flows.benchmarks import result_of, scores_of
from flows.showing.score_rows import rows_of_records
from flows.showing.summary import benchmark_table
from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.errors import ConfigError
from storage.catalog import open_catalog
from storage.entries import ModelEntry
from storage.home import Home
from storage.ledger import Ledger
from tasks.model_card import _scores as model_scores
from tests.flows.test_benchmarks import bench, folder  # noqa: F401 - fixtures

SCRIPT = "engine.script=tests.flows.scripted_settings:answer"


def _by_metric(scores):
    return {score.metric: score for score in scores}


def _run(bench, name="ifeval", **options):  # noqa: F811
    run = bench(name, script=SCRIPT, **options)
    return run, scores_of(run, name)


def test_several_answers_and_pass_k_by_hand(bench, tmp_path):  # noqa: F811
    run, scores = _run(bench, samples=4, temperature=0.5)
    found = _by_metric(scores)
    # "Say hi": two of four answers keep both rules. "Say long": every answer is right. The third is never answered.
    assert found["prompt_strict"].value == pytest.approx((2 + 4) / 8)
    assert found["prompt_strict"].n == 8
    assert found["prompt_strict/pass^2"].value == pytest.approx((1 / 6 + 1) / 2)
    assert found["prompt_strict/pass@2"].value == pytest.approx((5 / 6 + 1) / 2)
    assert (found["prompt_strict/pass^4"].value, found["prompt_strict/pass@4"].value) == (0.5, 1.0)
    assert (found["prompt_strict/pass^2"].n, found["prompt_strict/pass^2/unscored"].value) == (2, pytest.approx(1 / 3))
    assert {json.loads(score.settings)["samples"] for score in scores} == {4}
    shown = [row for row in rows_of_records(scores) if row.is_headline]
    assert "prompt_strict/pass^2" in {row.metric for row in shown}
    assert shown[0].place == f"ifeval (temperature 0.5, 4 samples, seed {run.config.seed})"
    with open_catalog(Home(tmp_path / "home")) as catalog:
        items = catalog.rows(
            "SELECT i.sample, i.value, r.text, r.sample_index FROM eval_items i JOIN eval_responses r "
            "USING (response_id) WHERE metric = 'prompt_strict' AND item_id = '0' ORDER BY sample"
        )
    assert [row["sample"] for row in items] == [0, 1, 2, 3]
    assert [row["sample_index"] for row in items] == [0, 1, 2, 3]
    assert [row["value"] for row in items] == [float(row["text"] == '"hello"') for row in items]


def test_a_sampled_measurement_is_another_than_the_greedy_one(bench, tmp_path):  # noqa: F811
    _run(bench)
    _run(bench, samples=2, temperature=0.5)
    _run(bench, samples=2, temperature=0.5, seed=9)
    _run(bench, max_tokens=7)
    with open_catalog(Home(tmp_path / "home")) as catalog:
        rows = catalog.rows(
            "SELECT settings, count(DISTINCT run_id) AS runs, max(n) AS n FROM eval_scores "
            "WHERE metric = 'prompt_strict' GROUP BY settings ORDER BY settings"
        )
        answers = catalog.rows("SELECT count(DISTINCT stage_key) AS n FROM eval_responses")[0]["n"]
    assert [(row["settings"], row["n"]) for row in rows] == [
        ("", 2),
        ('{"max_tokens":7}', 2),
        ('{"samples":2,"seed":0,"temperature":0.5}', 4),
        ('{"samples":2,"seed":9,"temperature":0.5}', 4),
    ]
    assert answers == 4
    assert {row["runs"] for row in rows} == {1}


def test_the_most_thorough_measurement_is_one_of_the_same_settings(bench, tmp_path):  # noqa: F811
    run, _ = _run(bench)
    _run(bench, samples=4, temperature=0.5)  # over more values, and another figure
    home = Home(tmp_path / "home")
    entry = ModelEntry(
        **{"run_id": "r", "role": "actor", "iteration": 0, "name": "actor", "version": 1, "uri": "none"},
        **{"digest": run.model.served.model.digest, "parent_digest": None, "train_stage_key": None},
    )
    Ledger(home).record_model(entry)
    rows = {row.place: row.estimate for _, row in benchmark_table(home, "r") if row.metric == "prompt_strict"}
    assert {place: (found.value, found.n) for place, found in rows.items()} == {
        "ifeval": (0.5, 2),
        "ifeval (temperature 0.5, 4 samples, seed 0)": (0.75, 8),
    }
    with open_catalog(home) as catalog:
        card = {score.name: score.own for score in model_scores(catalog, entry)}
    assert card["ifeval prompt_strict %"].n == 2


def test_a_system_text_goes_ahead_of_every_prompt(bench):  # noqa: F811
    _, plain = _run(bench)
    run, told = _run(bench, system="Quote everything.")
    # Only under the system text is "Say hi" answered in quotation marks: by "hello" and not by hello.
    assert (_by_metric(plain)["prompt_strict"].value, _by_metric(told)["prompt_strict"].value) == (0.5, 1.0)
    assert told[0].settings == '{"system":"Quote everything."}'
    record = result_of(run, told).plain(run.request)
    assert record["sampling"]["system"] == "Quote everything."
    assert record["scores"][0]["settings"] == {"system": "Quote everything."}


def test_a_judge_sees_every_answer(bench, tmp_path):  # noqa: F811
    _, scores = _run(bench, "followbench", judge="starter", languages=("en",), samples=2, temperature=0.5)
    found = _by_metric(scores)
    # As with one answer (test_benchmarks), twice: all samples are alike here, so that both are right where one is.
    assert (found["hsr/content/1"].value, found["hsr/content/1"].n) == (1.0, 4)
    assert found["hard/pass^2"].value == found["hard/pass@2"].value
    assert 0 < found["hard/pass^2"].value < 1
    with open_catalog(Home(tmp_path / "home")) as catalog:
        asked = catalog.rows("SELECT sample, count(*) AS n FROM eval_items WHERE metric = 'hard' GROUP BY 1 ORDER BY 1")
    assert [row["sample"] for row in asked] == [0, 1]
    assert asked[0]["n"] == asked[1]["n"]


def test_held_out_prompts_by_other_settings(bench, tmp_path):  # noqa: F811
    _, usual = _run(bench, "starter")
    _, greedy = _run(bench, "starter", temperature=0.0)
    _, sampled = _run(bench, "starter", samples=2, refiner="starter")
    assert {score.settings for score in usual} == {""}
    assert {score.settings for score in greedy} == {'{"temperature":0.0}'}
    assert {score.settings for score in sampled} == {'{"samples":2}'}
    assert _by_metric(sampled)["accuracy/pass^2"].value == 0.0
    with open_catalog(Home(tmp_path / "home")) as catalog:
        found = catalog.rows("SELECT DISTINCT settings FROM eval_items WHERE benchmark = 'self_play' ORDER BY 1")
    assert [row["settings"] for row in found] == ["", '{"samples":2}', '{"temperature":0.0}']


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 3}, "3 greedy answers to a prompt are one and the same"),
        ({"top_p": 0.5}, "--top-p changes no greedy answer"),
        ({"samples": 3, "temperature": 1.0, "pass_k": (4,)}, r"pass\^4 cannot be told from 3 answers"),
        ({"chat_template": "tool_use"}, "engine kind 'scripted' has no chat template"),
    ],
)
def test_what_does_not_go_together_is_refused(bench, options, said):  # noqa: F811
    with pytest.raises(ConfigError, match=said):
        bench("ifeval", script=SCRIPT, **options)


@pytest.mark.parametrize("name", ["llmbar", "refinement", "ability"])
def test_benchmarks_that_ask_for_no_answers_take_no_such_options(name):
    with pytest.raises(ConfigError, match=f"{name} asks for no answers that --temperature could change"):
        check_answering(BenchmarkRequest(benchmark=name, model="starter", home="h", temperature=0.5))


def test_a_server_takes_no_template():
    request = BenchmarkRequest(benchmark="ifeval", model="http://a/v1#m", home="h", chat_template="tool_use")
    with pytest.raises(ConfigError, match="a server lays out chats itself"):
        check_answering(request)  # nothing answers there: it is not asked


def test_a_chat_template_is_the_models_alone_and_part_of_its_key():
    engine = TransformersEngineConfig()
    other = with_template(engine, "{{ messages[0].content }}")
    assert other.identity() == {**engine.identity(), "chat_template": "{{ messages[0].content }}"}
    assert with_template(engine, None) is engine
