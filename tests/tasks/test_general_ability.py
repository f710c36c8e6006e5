import json
import os
from types import SimpleNamespace

import pytest

from spar_core.engines.configuration import OpenAIEngineConfig, ScriptedEngineConfig, TransformersEngineConfig
from spar_core.errors import ConfigError, DataError
from spar_core.records import EvalItem
from storage.artifacts import ArtifactStore, Provenance
from storage.home import Home
from tasks import general_ability
from tasks.calls import StageCall
from tasks.engines import ModelRef
from tasks.general_ability import (
    ABILITY,
    ability_kept,
    ability_scores,
    asked_tasks,
    harness_model,
    settings_of,
)

RESULTS = {
    "results": {
        "gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.05},
        "triviaqa": {"exact_match,remove_whitespace": 0.99, "exact_match_stderr,remove_whitespace": 0.02},
        "mmlu": {"acc,none": 0.25, "acc_stderr,none": "N/A"},
    },
    "n-shot": {"gsm8k": 5, "triviaqa": 0, "mmlu_anatomy": 0, "mmlu_virology": 0},
    "versions": {"gsm8k": 3.0, "triviaqa": 3.0},
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
    # No standard error of a group: Wilson for a share of 0.25 of 10, centre (0.25 + 0.19207) / 1.38415 = 0.31938, half
    # width 1.95996 x sqrt(0.25 x 0.75 / 10 + 0.0096037) / 1.38415 = 0.23842.
    assert (mmlu.metric, mmlu.value, mmlu.n) == ("mmlu", 0.25, 10)
    assert (mmlu.ci_low, mmlu.ci_high) == (pytest.approx(0.08096, abs=1e-4), pytest.approx(0.55780, abs=1e-4))


def test_samples_all_alike_get_no_interval_of_no_width():
    results = {
        "results": {"gsm8k": {"exact_match,strict-match": 1.0, "exact_match_stderr,strict-match": 0.0}},
        "n-samples": {"gsm8k": {"effective": 20}},
    }
    (score,) = ability_scores(results, ("gsm8k",), "actor", "d")
    # Wilson for 20 of 20: 20 / (20 + 1.96**2)
    assert (score.ci_low, score.ci_high) == (pytest.approx(20 / (20 + 1.959964**2), abs=1e-4), 1.0)


def test_of_an_unknown_number_of_samples_nothing_is_known():
    (score,) = ability_scores({"results": {"mmlu": {"acc,none": 0.5}}}, ("mmlu",), "actor", "d")
    assert (score.value, score.ci_low, score.ci_high, score.n) == (0.5, 0.0, 1.0, 0)


def test_a_result_without_the_metric_is_refused():
    with pytest.raises(DataError, match=r"no exact_match,strict-match or .* of gsm8k"):
        ability_scores({"results": {"gsm8k": {"bleu,none": 1.0}}}, ("gsm8k",), "actor", "d")


def _measured(home, digest, *, limit=None, **right):
    """An artifact of the stage with so many right samples of 200 by task."""
    store = ArtifactStore(home)
    items = [
        EvalItem("ability", "actor", digest, f"{task}/{n}", f"{task}/{n}", task, float(n < hits), name)
        for task, hits in right.items()
        for name in ("strict-match", "flexible-extract")  # of which the score is the first
        for n in range(200 if limit is None else limit)
        for hits in [hits if name == "strict-match" else 200]
    ]
    key = f"{digest}-{limit}"
    with store.part("ability", key, 0) as part:
        part.write("eval_items", items)
    provenance = Provenance(config={"tasks": ["gsm8k", "mmlu"], "limit": limit, "role": "actor"})
    return store.commit("ability", key, rows_in=len(items), rows_out=len(items), provenance=provenance)


def test_the_gate_asks_for_what_is_kept_sample_by_sample(tmp_path):
    home = Home(tmp_path)
    champion = _measured(home, "old", gsm8k=100, mmlu=120)
    same, worse, better = (_measured(home, name, gsm8k=right, mmlu=120) for name, right in
                           (("same", 100), ("worse", 80), ("better", 130)))  # fmt: skip
    # None of 200 differs: at most 3.8415 / 203.8415 = 1.9 points of others do.
    assert ability_kept(champion, same, 0.02).passed
    assert not ability_kept(champion, same, 0.01).passed
    assert ability_kept(champion, better, 0.02).passed
    verdict = ability_kept(champion, worse, 0.05)
    assert not verdict.passed
    assert verdict.reason.startswith("general ability: gsm8k -10.0 [")
    assert "200 samples, margin 5" in verdict.reason
    assert ability_kept(champion, worse, 0.2).passed


def test_what_was_not_measured_on_whole_tasks_is_not_kept(tmp_path):
    """0.50 of the champion, 0.40 of the candidate: a look at five samples, all right, changes nothing."""
    home = Home(tmp_path)
    champion, candidate = _measured(home, "old", gsm8k=100), _measured(home, "new", gsm8k=80)
    look, of_champion = _measured(home, "new", limit=5, gsm8k=5), _measured(home, "old", limit=5, gsm8k=0)
    assert not ability_kept(champion, candidate, 0.02).passed
    for before, after in ((champion, look), (of_champion, look), (None, candidate), (champion, None)):
        verdict = ability_kept(before, after, 1.0)
        assert not verdict.passed
        assert "not measured" in verdict.reason
    lacking = ability_kept(_measured(home, "both", gsm8k=1, mmlu=1), candidate, 1.0)
    assert lacking.reason == "general ability: mmlu was not measured"


def test_models_as_the_harness_names_them():
    model = ModelRef("d", "/models/a")
    assert harness_model(TransformersEngineConfig(device="cpu"), model) == (
        "hf",
        {"pretrained": "/models/a", "dtype": "auto", "device": "cpu"},
        False,
    )
    kind, arguments, chat = harness_model(OpenAIEngineConfig(base_urls=("http://h:1/v1/",), model="m"), model)
    assert (kind, chat, arguments["base_url"]) == ("local-chat-completions", True, "http://h:1/v1/chat/completions")
    # An alias is no name on the hub: no tokenizer of that name is looked for.
    assert (arguments["model"], arguments["tokenizer_backend"], arguments["tokenized_requests"]) == ("m", None, False)
    with pytest.raises(ConfigError, match="`transformers`"):
        harness_model(ScriptedEngineConfig(script="a:b"), model)


@pytest.mark.parametrize(
    ("files", "chat"),
    [
        ({"chat_template.jinja": "{{ messages }}"}, True),
        ({"tokenizer_config.json": '{"chat_template": "{{ messages }}"}'}, True),
        ({"tokenizer_config.json": "{}"}, False),
        ({"tokenizer_config.json": "broken"}, False),
        ({}, False),
    ],
)
def test_a_model_with_a_chat_template_is_asked_as_a_chat(tmp_path, files, chat):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert harness_model(TransformersEngineConfig(), ModelRef("d", str(tmp_path))).chat is chat


def test_a_chat_server_is_not_asked_for_log_probabilities():
    server = OpenAIEngineConfig(base_urls=("http://h:1/v1",), model="m")
    tasks, left_out = asked_tasks(server, unsafe_code=False)
    assert tasks == ["gsm8k", "triviaqa"]
    assert left_out[0].startswith("mmlu: compares log-probabilities")
    assert asked_tasks(TransformersEngineConfig(), unsafe_code=True) == (["gsm8k", "triviaqa", "mmlu", "humaneval"], [])


def test_the_key_is_where_the_harness_looks_and_only_while_it_runs(tmp_path, monkeypatch):
    seen = []

    def simple_evaluate(**arguments):
        seen.append((os.environ["OPENAI_API_KEY"], "SECRET" in str(arguments)))
        return RESULTS

    monkeypatch.setattr(general_ability, "require_harness", lambda: SimpleNamespace(simple_evaluate=simple_evaluate))
    monkeypatch.setenv("MY_KEY", "SECRET")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = OpenAIEngineConfig(base_urls=("http://h:1/v1",), model="m", api_key_env="MY_KEY")
    ABILITY._work(ability_call(tmp_path, server), 0)
    assert seen == [("SECRET", False)]
    assert "OPENAI_API_KEY" not in os.environ
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        ABILITY._work(ability_call(tmp_path / "other", server), 0)


def ability_call(home, engine):
    return StageCall(
        stage=ABILITY.name,
        version=ABILITY.version,
        home=str(home),
        run_id="r",
        iteration=2,
        seed=7,
        models={"model": ModelRef("d", "/models/a")},
        config={"tasks": ["gsm8k", "triviaqa", "mmlu"], "limit": 5, "role": "actor"},
        engines={"model": engine},
    )


def test_a_harness_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(ConfigError, match=r"spar\[ability\]"):
        general_ability.require_harness()


def test_the_stage_runs_the_harness(tmp_path, monkeypatch):
    calls = []

    def simple_evaluate(**arguments):
        calls.append(arguments)
        return RESULTS

    harness = SimpleNamespace(simple_evaluate=simple_evaluate, __version__="0.4.9")
    monkeypatch.setattr(general_ability, "require_harness", lambda: harness)
    call = ability_call(tmp_path, TransformersEngineConfig())
    artifact = ABILITY.compute(call)
    assert (calls[0]["model"], calls[0]["limit"], calls[0]["confirm_run_unsafe_code"]) == ("hf", 5, False)
    assert (calls[0]["apply_chat_template"], calls[0]["fewshot_as_multiturn"]) == (False, False)
    written = list(artifact.read("eval_items"))
    settings = {item.cluster_id: json.loads(item.detail) for item in written if item.metric == "settings"}
    assert settings["gsm8k"] == {
        "num_fewshot": 5,
        "task_version": 3.0,
        "chat_template": False,
        "fewshot_as_multiturn": False,
        "lm_eval": "0.4.9",
    }
    assert settings["mmlu"]["num_fewshot"] == 0  # of its first subtask
    assert settings_of(artifact)[0] == "gsm8k: 5 examples, without a chat template, lm-eval 0.4.9"
    items = {(item.item_id, item.metric): item.value for item in written if item.metric != "settings"}
    assert items == {("gsm8k/3", "gsm8k"): 1.0, ("mmlu_anatomy/0", "mmlu"): 0.0, ("mmlu_anatomy/1", "mmlu"): 1.0}
    assert {score.metric: score.value for score in artifact.read("eval_scores")} == {
        "gsm8k": 0.5,
        "triviaqa": 0.99,
        "mmlu": 0.25,
    }
