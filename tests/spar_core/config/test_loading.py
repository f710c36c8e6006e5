import pytest

from spar_core.config.loading import build_config, load_config, preset_names
from spar_core.config.run import RunConfig
from spar_core.errors import ConfigError

PAPER_MODELS = ("llama3-8b", "llama3-70b", "glm4-9b", "mistral-7b")


def test_preset_names_leave_out_shared_parts():
    assert preset_names() == ["glm4-9b", "llama3-70b", "llama3-8b", "mistral-7b", "smoke", "starter"]


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_model_presets_have_the_papers_values(name):
    config = load_config(name)
    method, training = config.method, config.training
    assert (config.profile, config.iterations) == ("paper", 3)
    assert config.prompts.per_iteration * config.iterations == 30_000
    responses = method.responses
    assert (responses.per_prompt, responses.temperature, responses.top_p, responses.max_tokens) == (5, 0.9, 0.9, 2048)
    judging = method.judging
    assert (judging.votes, judging.temperature, judging.top_p, judging.max_tokens) == (5, 0.7, 1.0, 2048)
    assert (judging.quorum, judging.max_reasks, judging.tie) == (1, 0, "drop")
    assert (method.refinement.temperature, method.refinement.top_p, method.refinement.max_tokens) == (0.7, 1.0, 3072)
    search = method.search
    assert (search.branch, search.beam_width, search.max_depth, search.node_budget) == (3, 2, 3, 15)
    assert (search.root_value, search.tie_break, search.accept_truncated) == ("zero", "earliest", True)
    assert (search.detect_duplicates, search.failed_expansion_costs) == (False, False)
    quotas = method.refiner_data
    assert (quotas.refinements, quotas.tree_yes, quotas.tree_no) == (4000, 1500, 1000)
    assert (quotas.response_no, quotas.response_yes, quotas.deduplicate) == (500, 2500, "after_quota")
    actor = training.actor
    assert (actor.beta, actor.sft_weight, actor.learning_rate, actor.sft_reduction) == (0.1, 0.1, 2e-7, "sequence")
    assert (actor.schedule, actor.warmup_ratio, actor.epochs, actor.batch_size) == ("linear", 0.1, 1, 32)
    assert actor.max_length == 2048
    refiner = training.refiner
    assert (refiner.learning_rate, refiner.batch_size, refiner.epochs, refiner.max_length) == (1e-6, 64, 3, 4096)
    warm = training.warm_start_actor
    assert (warm.learning_rate, warm.schedule, warm.warmup_ratio) == (2e-6, "constant_with_warmup", 0.1)
    assert (warm.batch_size, warm.epochs) == (64, 5)
    assert (training.warm_start_refiner.epochs, training.warm_start_refiner.learning_rate) == (3, 2e-6)


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


def test_a_file_builds_on_its_preset(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("preset: smoke\nseed: 7\n")
    config = load_config(file=file)
    assert (config.preset, config.seed, config.iterations) == ("smoke", 7, 1)


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


def test_spreading_the_work_changes_no_run_id():
    plain = RunConfig()
    spread = build_config({"orchestration": {"shard_size": 7}})
    assert plain.default_run_id() == spread.default_run_id()
    assert plain.default_run_id() != build_config({"seed": 1}).default_run_id()


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
        (["method.pairs.method=meta_rewarding", "train_refiner=false"], None),
    ],
)
def test_how_the_refiner_learns_follows_from_the_method(overrides, learns_by):
    assert load_config("starter", overrides=overrides).refiner_learns_by() == learns_by


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
