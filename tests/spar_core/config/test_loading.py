import pytest

from spar_core.config.loading import build_config, load_config, preset_names
from spar_core.errors import ConfigError


def test_preset_names_leave_out_shared_parts():
    assert preset_names() == [
        "glm4-9b",
        "llama3-70b",
        "llama3-8b",
        "mistral-7b",
        "smoke",
        "smollm2-135m",
        "smollm2-small",
        "smollm2-smoke",
        "starter",
    ]


def test_the_paper_profile_lies_below_what_is_said_explicitly():
    config = build_config({"profile": "paper", "method": {"judging": {"quorum": 2}}})
    assert (config.method.judging.quorum, config.method.judging.max_reasks) == (2, 0)


def test_overrides_reach_nested_values_and_read_numbers():
    config = load_config("starter", overrides=["training.actor.learning_rate=3e-6", "method.search.strategy=dfs"])
    assert config.training.actor.learning_rate == 3e-6
    assert config.method.search.strategy == "dfs"


def test_another_kind_of_engine_replaces_the_whole_section():
    config = load_config("starter", overrides=["engine.threads=2", "engine.kind=scripted", "engine.script=a.b:c"])
    assert config.engine.kind == "scripted"


def test_settings_of_the_engine_alone_are_those_of_the_default_kind():
    for more in ([], ["engine.kind=transformers"]):
        config = load_config("starter", overrides=["engine.threads=2", *more])
        assert (config.engine.kind, config.engine.threads) == ("transformers", 2)


def test_a_file_builds_on_its_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("preset: smoke\nseed: 7\n")
    config = load_config(file=file)
    assert (config.preset, config.seed, config.iterations) == ("smoke", 7, 1)


@pytest.mark.parametrize(
    ("text", "preset", "expected"),
    [
        ("extends: smoke\npreset: mine\nseed: 7\n", None, ("mine", 7, 1)),
        ("extends: smoke\nseed: 7\n", None, ("smoke", 7, 1)),
        ("preset: mine\nseed: 7\n", None, ("mine", 7, 3)),  # no base but the defaults
        ("preset: mine\nseed: 7\n", "smoke", ("mine", 7, 1)),
    ],
)
def test_a_file_has_a_name_of_its_own_and_says_what_it_extends(tmp_path, text, preset, expected):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    config = load_config(preset, file)
    assert (config.preset, config.seed, config.iterations) == expected


@pytest.mark.parametrize(
    ("text", "preset", "message"),
    [
        ("extends: smok\n", None, "unknown preset 'smok'; allowed: .*smoke"),
        ("extends: [smoke]\n", None, "unknown preset"),
        ("extends: smoke\n", "starter", "extends 'smoke'.*--preset says 'starter'"),
        ("extends: smoke\npreset: a/b\n", None, "preset: String should match"),
    ],
)
def test_a_wrong_base_or_name_is_told(tmp_path, text, preset, message):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load_config(preset, file)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["method.judging.votez=3"], ["method.judging.votez", "unknown key", "votes"]),
        (["training.actor.learning_rate=-1"], ["training.actor.learning_rate", "greater than 0", "-1"]),
        (["method.search.strategy=astar"], ["method.search.strategy", "'bfs', 'dfs' or 'chain'", "astar"]),
        (["method.judging.quorum=9"], ["quorum 9", "votes 5", "judging.votes"]),
        (
            ["method.pairs.method=meta_rewarding", "method.pairs.scorer=actor"],
            ["meta_rewarding", "scorer=refiner", "self_rewarding"],
        ),
        (["method.judging.wordings=6"], ["wordings 6", "votes 5"]),
        (["training.grpo.batch_size=60"], ["batch_size 60", "multiple of group 8"]),
        (["training.grpo.max_tokens=256"], ["max_tokens 256", "max_length 256"]),
        (["method.pairs.method=grpo", "profile=paper"], ["method.pairs.method=grpo", "profile=ours"]),
        (
            ["method.pairs.method=grpo", "method.pairs.tokens=1000", "training.grpo.schedule=linear"],
            ["training.grpo.schedule `linear`", "constant_with_warmup"],
        ),
        (
            ["method.pairs.method=grpo", "training.grpo.reward=judged", "method.judging.second_voter=first"],
            ["reward `judged`", "second_voter"],
        ),
        (["method.pairs.length_control=0.1"], ["length_control", "`spar` has none", "meta_rewarding"]),
        (["method.pairs.tokens=1000"], ["pairs.method `spar` does not follow", "best_of_n", "grpo"]),
        (
            ["method.pairs.method=spar_then_grpo", "iterations=2"],
            ["does not come to grpo within 2 iterations", "grpo_from"],
        ),
        (["method.pairs.method=grpo", "train_refiner=true"], ["train_refiner", "leave train_refiner unset"]),
        (
            ["method.pairs.method=grpo", "training.launch.sharding=full", "training.launch.processes=2"],
            ["training.grpo", "launch.sharding=none"],
        ),
        (["novalue"], ["key.path=value", "novalue"]),
        (["prompts.source=file"], ["prompts.path", "JSONL"]),
        (["engine.kind=openai", "engine.base_urls=[http://a/v1]", "engine.model=m"], ["openai", "spar search"]),
        (["training.launch.processes=2", "training.launch.accelerate_config=f.yaml"], ["accelerate"]),
    ],
)
def test_wrong_values_name_key_value_and_remedy(overrides, parts):
    with pytest.raises(ConfigError) as caught:
        load_config("starter", overrides=overrides)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match="starter"):
        load_config("llama9")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_config(file=file)


@pytest.mark.parametrize(
    ("overrides", "learns_by"),
    [
        ([], "rft"),
        (["train_refiner=false"], None),
        (["method.pairs.method=single_refine"], "rft"),
        (["method.pairs.method=random_pairs"], "rft"),
        (["method.pairs.method=self_rewarding"], None),
        (["method.pairs.method=self_rewarding", "train_refiner=true"], "rft"),
        (["method.pairs.method=meta_rewarding"], "dpo"),
        (["method.pairs.method=programmatic_refine"], None),
        (["method.pairs.method=programmatic_refine", "train_refiner=true"], "rft"),
        (["method.pairs.method=meta_rewarding", "train_refiner=false"], None),
    ],
)
def test_how_the_refiner_learns_follows_from_the_method(overrides, learns_by):
    assert load_config("starter", overrides=overrides).refiner_learns_by() == learns_by


def test_rules_enter_by_the_method_where_it_is_told_by_them():
    def rules(*overrides):
        return len(load_config("starter", overrides=[*overrides]).rules_of_method())

    assert [rules(), rules("method.pairs.method=grpo"), rules("method.pairs.method=spar_then_grpo")] == [0, 1, 1]
    assert rules("method.pairs.method=grpo", "training.grpo.reward=judged") == 0
    assert rules("method.pairs.method=programmatic_refine", "training.grpo.reward=judged") == 1


def test_what_is_trained_follows_from_the_method():
    def trained(*overrides):
        return [*load_config("starter", overrides=["warm_start.source=none", *overrides]).trainings()]

    assert trained() == ["actor", "refiner"]
    assert trained("method.pairs.method=grpo") == ["grpo"]
    assert trained("method.pairs.method=spar_then_grpo") == ["grpo", "actor", "refiner"]
    assert trained("method.pairs.method=meta_rewarding") == ["actor", "judge"]


def test_the_search_behind_the_pairs_follows_from_the_method():
    def search(method):
        config = load_config("starter", overrides=[f"method.pairs.method={method}", "method.search.node_budget=7"])
        return config.method.search_for_pairs()

    assert search("spar") == load_config("starter", overrides=["method.search.node_budget=7"]).method.search
    chain, one = search("iterative_refine"), search("single_refine")
    assert (chain.strategy, chain.node_budget) == ("chain", 7)
    assert (one.strategy, one.branch, one.max_depth, one.node_budget) == ("bfs", 1, 1, 1)
    assert [search(m) for m in ("best_of_n", "self_rewarding", "meta_rewarding", "random_pairs")] == [None] * 4


def test_the_judge_trains_as_the_actor_does_on_sequences_as_long_as_the_refiners():
    training = load_config("starter", overrides=["training.judge=null"]).training
    assert training.judge_training() == training.actor.model_copy(update={"max_length": training.refiner.max_length})
    own = load_config("starter", overrides=["training.judge.learning_rate=3e-5"]).training.judge_training()
    assert own.learning_rate == 3e-5
