from pathlib import Path

import pytest

from spar_core.config.loading import load_config
from spar_core.errors import ConfigError

PAPER_MODELS = ("llama3-8b", "llama3-70b", "glm4-9b", "mistral-7b")


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_model_presets_are_taught_8k_and_5k_by_a_teacher_the_user_names(name):
    """They load without one: planning and measuring need none."""
    config = load_config(name)
    warm = config.warm_start
    assert (warm.source, warm.actor_examples, warm.refiner_examples) == ("teacher", 8000, 5000)
    assert "warm_start.teacher" in str(warm.needs_teacher())
    assert all(way in str(warm.needs_teacher()) for way in ("warm_start.source=file", "warm_start.source=none"))
    assert config.prompts.decontaminate == ("ifeval", "followbench", "llmbar")
    assert config.prompts.near_duplicates == 0.7
    for override in ("warm_start.teacher=/models/strong", "warm_start.source=none"):
        assert load_config(name, overrides=[override]).warm_start.needs_teacher() is None


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["warm_start.teacher=http://a/v1"], ["warm_start", "`starter`", "warm_start.source=teacher"]),
        (["warm_start.source=teacher", "warm_start.teacher=https://a/v1#m&kee=A"], ["https://a/v1", "key="]),
        (["warm_start.min_agreement=0.3"], ["warm_start.min_agreement", "0.5"]),
        (["prompts.evolver=http://a/v1"], ["prompts.evolver", "`starter`", "prompts.source=taxonomy"]),
        (["prompts.source=taxonomy", 'prompts.evolver=" "'], ["reference is empty"]),
        (["warm_start.actor_by_rules=true"], ["actor_by_rules", "`starter`", "set it to rules"]),
        (["profile=paper", "warm_start.source=rules"], ["warm_start.source=rules", "profile=ours"]),
        (["profile=paper", "method.pairs.method=programmatic_refine"], ["programmatic_refine", "profile=ours"]),
        (["warm_start.source=rules", "prompts.source=taxonomy"], ["`taxonomy`", "prompts.source=verifiable"]),
        (["prompts.source=verifiable", "prompts.constraints=[3, 1]"], ["prompts.constraints", "write [1, 3]"]),
        (["prompts.kinds=[keywords:existence]"], ["prompts.kinds", "`starter`", "prompts.source=verifiable"]),
        (["evaluation.kinds=[keywords:existence]"], ["evaluation.kinds", "evaluation.source=verifiable"]),
        (
            ["prompts.source=verifiable", "prompts.kinds=[keywords:existence, startend:quotation]"],
            [
                "prompts.kinds",
                "no kind that training prompts have: startend:quotation; these are",
                "startend:end_checker",
            ],
        ),
        (
            ["prompts.constraints=[1, 2]", "prompts.source=file", "prompts.path=a.jsonl"],
            ["prompts.constraints", "`file`", "prompts.source=verifiable"],
        ),
        (["prompts.decontaminate=[ifevil]"], ["prompts.decontaminate", "ifeval"]),
    ],
)
def test_wrong_values_name_key_and_remedy(overrides, parts):
    with pytest.raises(ConfigError) as caught:
        load_config("starter", overrides=overrides)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_what_to_decontaminate_with_is_a_folder_or_names():
    folder = load_config("starter", overrides=["prompts.decontaminate=data/bench"])
    assert folder.prompts.decontaminate == Path("data/bench")
    named = load_config("starter", overrides=["prompts.decontaminate=[ifeval, llmbar]"])
    assert named.prompts.decontaminate == ("ifeval", "llmbar")
    off = load_config("llama3-8b", overrides=["prompts.decontaminate=null"])
    assert off.prompts.decontaminate is None


def test_rules_ask_for_prompts_of_their_own_where_a_role_learns_of_them():
    def prompts(*overrides):
        warm = load_config("starter", overrides=overrides).warm_start
        return warm.prompts_for("actor"), warm.prompts_for("refiner")

    assert prompts() == prompts("warm_start.source=none") == (0, 0)
    assert prompts("warm_start.source=rules") == (0, 3000)
    assert prompts("warm_start.source=rules", "warm_start.actor_by_rules=true") == (3000, 3000)
    assert prompts("warm_start.source=rules", "warm_start.teacher=/models/strong") == (3000, 3000)
    assert prompts("warm_start.source=teacher", "warm_start.teacher=/models/strong") == (3000, 3000)
