from types import SimpleNamespace

import pytest

from spar_core.engines.configuration import OpenAIEngineConfig, ScriptedEngineConfig, TransformersEngineConfig
from spar_core.errors import ConfigError, DataError
from spar_core.records import EvalScore
from storage.home import Home
from tasks import general_ability
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.general_ability import ABILITY, ability_gate, ability_scores, harness_model, measured_ability
from tasks.runtime import Runtime

RESULTS = {
    "results": {
        "gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.05},
        "triviaqa": {"exact_match,remove_whitespace": 0.99, "exact_match_stderr,remove_whitespace": 0.02},
        "mmlu": {"acc,none": 0.25, "acc_stderr,none": "N/A"},
    },
    "n-samples": {
        "gsm8k": {"original": 1319, "effective": 100},
        "triviaqa": {"original": 17944, "effective": 25},
        "mmlu_anatomy": {"original": 135, "effective": 4},
        "mmlu_virology": {"original": 166, "effective": 6},
    },
    "samples": {
        "gsm8k": [{"doc_id": 3, "exact_match": 1.0, "filter": "strict-match"}],
        "mmlu_anatomy": [{"doc_id": 0, "acc": 0.0}, {"doc_id": 1, "acc": 1.0}],
        "other": [{"doc_id": 0, "acc": 0.0}],
    },
}


def test_results_become_scores_with_intervals():
    gsm8k, triviaqa, mmlu = ability_scores(RESULTS, ("gsm8k", "triviaqa", "mmlu"), "actor", "d")
    assert gsm8k.ci_low == pytest.approx(0.5 - 1.96 * 0.05, abs=1e-4)
    assert (gsm8k.metric, gsm8k.value, gsm8k.n) == ("gsm8k", 0.5, 100)
    assert (triviaqa.value, triviaqa.ci_high) == (0.99, 1.0)
    assert mmlu == EvalScore("ability", "actor", "d", "mmlu", 0.25, 0.25, 0.25, 10)


def test_a_result_without_the_metric_is_refused():
    with pytest.raises(DataError, match=r"no exact_match,strict-match or .* of gsm8k"):
        ability_scores({"results": {"gsm8k": {"bleu,none": 1.0}}}, ("gsm8k",), "actor", "d")


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ({"mmlu": 0.60}, {"mmlu": 0.60}, True),
        ({"mmlu": 0.60}, {"mmlu": 0.59}, True),
        ({"mmlu": 0.60}, {"mmlu": 0.57}, False),
        ({"mmlu": 0.60, "gsm8k": 0.5}, {"mmlu": 0.9}, False),
        ({"mmlu": 0.60}, {"mmlu": 0.70, "gsm8k": 0.1}, True),
        ({}, {"mmlu": 0.9}, False),
        ({"mmlu": 0.9}, {}, False),
    ],
)
def test_the_gate(before, after, passed):
    verdict = ability_gate(before, after, 0.02)
    assert verdict.passed is passed
    assert "general ability" in verdict.reason


def test_models_as_the_harness_names_them():
    model = ModelRef("d", "/models/a")
    assert harness_model(TransformersEngineConfig(device="cpu"), model) == (
        "hf",
        {"pretrained": "/models/a", "dtype": "auto", "device": "cpu"},
    )
    kind, arguments = harness_model(OpenAIEngineConfig(base_urls=("http://h:1/v1/",), model="m"), model)
    assert (kind, arguments["base_url"], arguments["model"]) == ("local-completions", "http://h:1/v1/completions", "m")
    with pytest.raises(ConfigError, match="`transformers`"):
        harness_model(ScriptedEngineConfig(script="a:b"), model)


def test_a_harness_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"spar\[ability\]"):
        general_ability.require_harness()


def test_the_stage_runs_the_harness_and_the_catalogue_shows_it(tmp_path, monkeypatch):
    calls = []

    def simple_evaluate(**arguments):
        calls.append(arguments)
        return RESULTS

    monkeypatch.setattr(general_ability, "require_harness", lambda: SimpleNamespace(simple_evaluate=simple_evaluate))
    call = StageCall(
        stage=ABILITY.name,
        version=1,
        home=str(tmp_path),
        run_id="r",
        iteration=2,
        seed=7,
        models={"model": ModelRef("d", "/models/a")},
        config={"tasks": ["gsm8k", "triviaqa", "mmlu"], "limit": 5, "role": "actor"},
        engines={"model": TransformersEngineConfig()},
    )
    artifact = ABILITY.compute(call)
    assert (calls[0]["model"], calls[0]["limit"], calls[0]["confirm_run_unsafe_code"]) == ("hf", 5, False)
    items = {(item.item_id, item.metric): item.value for item in artifact.read("eval_items")}
    assert items == {("gsm8k/3", "gsm8k"): 1.0, ("mmlu_anatomy/0", "mmlu"): 0.0, ("mmlu_anatomy/1", "mmlu"): 1.0}
    from tasks.bookkeeping import LedgerEntry

    LedgerEntry(Runtime.of(str(tmp_path)).ledger, call).completed(artifact, cached=False)
    assert measured_ability(Home(tmp_path), "d") == {"gsm8k": 0.5, "triviaqa": 0.99, "mmlu": 0.25}
    assert measured_ability(Home(tmp_path), "other") == {}
