"""Every key of a run's configuration is classified here by hand: a new one fails until it is entered."""

from types import UnionType
from typing import Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from spar_core.config.loading import build_config, load_config
from spar_core.config.run import RunConfig
from spar_core.config.run_identity import FITTING, NO_RESULTS, deciding, naming
from spar_core.engines.configuration import (
    OpenAIEngineConfig,
    ScriptedEngineConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)

# `training.*` stands for each of the trainings.
DECIDES = """
preset profile seed train_refiner
models.actor models.refiner models.shared
prompts.source prompts.path prompts.per_iteration prompts.skip_bad prompts.near_duplicates prompts.decontaminate
prompts.decontaminate_ngram prompts.evolver prompts.constraints prompts.kinds prompts.drop_contradictions
prompts.following.pass_above prompts.following.pass_at_most prompts.following.harder_from
prompts.following.easier_below prompts.following.most_constraints prompts.following.weigh_kinds
warm_start.source warm_start.teacher warm_start.tries warm_start.min_agreement warm_start.check_rules
warm_start.actor_examples warm_start.refiner_examples warm_start.actor_file warm_start.refiner_file
warm_start.skip_bad warm_start.samples warm_start.actor_by_rules
method.prompt_set
method.responses.temperature method.responses.top_p method.responses.max_tokens method.responses.per_prompt
method.judging.temperature method.judging.top_p method.judging.max_tokens method.judging.votes method.judging.quorum
method.judging.max_reasks method.judging.tie method.judging.wordings method.judging.second_voter method.judging.anchor
method.judging.reasked method.judging.verdict method.judging.soft_votes method.judging.equal_texts
method.judging.anchor_share method.judging.most_repeated
method.refinement.temperature method.refinement.top_p method.refinement.max_tokens
method.search.strategy method.search.branch method.search.beam_width method.search.max_depth method.search.node_budget
method.search.accept_above method.search.selection method.search.tie_break method.search.root_value
method.search.detect_duplicates method.search.accept_truncated method.search.failed_expansion_costs
method.search.rewrite_attempts method.search.max_reasks method.search.cache_values method.search.votes_asked
method.pairs.method method.pairs.scorer method.pairs.max_pairs method.pairs.max_negatives
method.pairs.tokens method.pairs.grpo_from method.pairs.length_control method.pairs.ranking method.pairs.roots
method.refiner_data.refinements method.refiner_data.tree_yes method.refiner_data.tree_no
method.refiner_data.response_no method.refiner_data.response_yes method.refiner_data.unanimous
method.refiner_data.order method.refiner_data.balance method.refiner_data.deduplicate
method.refiner_data.replay_fraction method.refiner_data.target
training.*.learning_rate training.*.schedule training.*.warmup_ratio training.*.epochs training.*.max_steps
training.*.batch_size training.*.max_length training.*.weight_decay training.*.max_grad_norm training.*.precision
training.*.overlong training.*.loss_turns training.*.optimizer training.*.keep_masters training.*.lora.rank
training.*.lora.alpha training.*.lora.dropout
training.*.lora.target_modules training.*.lora.learning_rate training.*.lora.base_bits
training.*.beta training.*.sft_weight training.*.sft_reduction training.*.ends
training.*.group training.*.temperature training.*.top_p training.*.max_tokens training.*.reward training.*.clip
training.*.loss training.*.scale_rewards training.*.generation
evaluation.enabled evaluation.source evaluation.split evaluation.constraints evaluation.kinds evaluation.prompts
evaluation.samples evaluation.seed
evaluation.actor.temperature evaluation.actor.top_p evaluation.actor.max_tokens
evaluation.refiner_items evaluation.calibration_items
promotion.rule promotion.margin promotion.ability_margin promotion.continue_from
promotion.max_hack_rate_rise
"""
FITS_THE_HARDWARE = "training.*.micro_batch_size training.*.gradient_checkpointing training.*.attention"
DECIDES_NOTHING = """
tracking.traces
iterations budget.tokens budget.hours budget.price_per_gpu_hour
probe.minimum_readable probe.requests probe.max_tokens
health.max_unreadable_votes health.max_unusable_rewrites health.max_cut_answers health.max_refused_prompts
health.max_undecided_answers health.min_pairs
orchestration.shard_size orchestration.parallel_shards orchestration.trees_in_flight orchestration.requests_in_flight
orchestration.shard_retries orchestration.placement orchestration.overlap
scale.runner scale.ray.address scale.ray.replicas scale.ray.start_timeout_s
training.launch.processes training.launch.sharding training.launch.offload training.launch.nodes
training.launch.rendezvous training.launch.accelerate_config training.launch.threads training.launch.environment
training.*.checkpoint_steps training.*.checkpoint_minutes training.*.log_steps
deployment.environment deployment.kubernetes.claim deployment.kubernetes.gpu_resource deployment.kubernetes.image
deployment.kubernetes.mount deployment.kubernetes.namespace deployment.kubernetes.node_selector
deployment.kubernetes.service_account deployment.kubernetes.storage_class deployment.kubernetes.storage_gib
deployment.kubernetes.values_from deployment.prefect_pool deployment.run.cpus deployment.run.gpus deployment.run.hours
deployment.run.memory_gib deployment.run.nodes deployment.servers deployment.slurm.account
deployment.slurm.container.image deployment.slurm.container.mounts deployment.slurm.container.runtime
deployment.slurm.gpu_type deployment.slurm.options deployment.slurm.partition deployment.slurm.qos
deployment.slurm.setup deployment.workdir deployment.workers.cpus deployment.workers.gpus deployment.workers.hours
deployment.workers.memory_gib deployment.workers.nodes deployment.workers.port
"""

ENGINES = {
    "transformers": TransformersEngineConfig(),
    "vllm": VllmEngineConfig(),
    "openai": OpenAIEngineConfig(base_urls=("http://a/v1",), model="m"),
    "scripted": ScriptedEngineConfig(script="a:b"),
}
THINKING = "chat_template_kwargs thoughts thought_tags thought_tokens"
ENGINES_DECIDE = {
    "transformers": f"chat_template {THINKING} dtype",
    "vllm": f"chat_template {THINKING} dtype max_model_len extra_body send_seed extra_args env",
    "openai": f"{THINKING} extra_body send_seed",
    "scripted": "script",
}
SERVED = "timeout_s max_concurrency max_retries max_pause_s max_wait_s"
ENGINES_DECIDE_NOT = {
    "transformers": "model device threads max_batch_rows cache_gib",
    "vllm": f"{SERVED} model python tensor_parallel replicas roles gpu_memory_utilization cpu_cache_gib port "
    "start_timeout_s log_folder",
    "openai": f"{SERVED} base_urls model model_digest api_key_env",
    "scripted": "latency_s",
}

REFUSED = {"openai": ["chat_template"]}  # set, they are an error

CHANGED = {  # another value than those above have
    "dtype": "float16", "max_model_len": 100, "extra_body": {"top_k": 2}, "send_seed": False,
    "env": {"VLLM_USE_V1": "0"}, "extra_args": ("--quantization", "fp8"), "script": "c:d", "model": "other",
    "device": "cuda", "threads": 2, "max_batch_rows": 2, "cache_gib": 2.0, "timeout_s": 2.0, "max_concurrency": 2,
    "max_retries": 2, "max_pause_s": 2.0, "max_wait_s": 2.0, "python": "python", "tensor_parallel": 2,
    "replicas": 2, "roles": {"refiner": {"replicas": 2}},
    "gpu_memory_utilization": 0.2, "cpu_cache_gib": 3, "port": 2, "start_timeout_s": 2.0,
    "chat_template": "{{ x }}",
    "chat_template_kwargs": {"enable_thinking": False}, "thoughts": "opened", "thought_tags": (("<r>", "</r>"),),
    "thought_tokens": 2,
    "log_folder": "logs", "base_urls": ("http://b/v1",), "model_digest": "d", "api_key_env": "KEY", "latency_s": 2.0,
}  # fmt: skip


def _leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        if name == "engine":
            continue
        optional = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else ()
        members = [m for m in (field.annotation, *optional) if isinstance(m, type) and issubclass(m, BaseModel)]
        found |= _leaves(members[0], f"{prefix}{name}.") if members else {f"{prefix}{name}"}
    return found


def _general(path: str) -> str:
    section, _, rest = path.partition(".")
    training = rest.partition(".")[0]
    return path if section != "training" or training == "launch" else path.replace(training, "*", 1)


LEAVES = sorted(_leaves(RunConfig))


def test_every_key_is_entered_in_one_of_the_three_classes():
    classes = [set(text.split()) for text in (DECIDES, FITS_THE_HARDWARE, DECIDES_NOTHING)]
    entered = set().union(*classes)
    known = {_general(path) for path in LEAVES}
    assert known - entered == set(), "new keys: does each decide results? Enter it above, and in config/run_identity.py"
    assert entered - known == set(), "keys that are gone"
    assert sum(map(len, classes)) == len(entered)


@pytest.mark.parametrize("path", LEAVES)
def test_a_key_counts_as_it_is_classified(path):
    names = _general(path) in DECIDES.split()
    counts = names or _general(path) in FITS_THE_HARDWARE.split()
    before, after = ({"seed": 0, **_nested(path, value)} for value in ("this", "that"))
    assert (naming(before) != naming(after), deciding(before) != deciding(after)) == (names, counts)


def _nested(path: str, value: str) -> dict[str, object]:
    name, _, rest = path.partition(".")
    return {name: _nested(rest, value) if rest else value}


@pytest.mark.parametrize("kind", ENGINES)
def test_every_key_of_an_engine_is_classified(kind):
    engine, decides, other = ENGINES[kind], ENGINES_DECIDE[kind].split(), ENGINES_DECIDE_NOT[kind].split()
    assert sorted(["kind", *decides, *other, *REFUSED.get(kind, ())]) == sorted(type(engine).model_fields)
    changed = {key: type(engine)(**{**engine.model_dump(), key: CHANGED[key]}) for key in [*decides, *other]}
    assert [key for key, config in changed.items() if config.identity() != engine.identity()] == decides


def test_nothing_is_excluded_that_is_not_there():
    patterns = {pattern.removesuffix(".*") for pattern in NO_RESULTS | FITTING}
    assert [p for p in patterns if not any(_general(path).startswith(p) for path in LEAVES)] == []


@pytest.mark.parametrize(
    "override",
    [
        "engine.tensor_parallel=4",
        "engine.python=/elsewhere/python",
        "engine.gpu_memory_utilization=0.5",
        "training.launch.processes=2",
        "training.actor.micro_batch_size=1",
        "training.refiner.gradient_checkpointing=false",
        "orchestration.shard_size=7",
        "scale.runner=ray",
    ],
)
def test_a_run_is_the_same_on_other_hardware(override):
    base = load_config("llama3-8b")
    other = load_config("llama3-8b", overrides=[override])
    assert other != base
    assert other.default_run_id() == base.default_run_id()


@pytest.mark.parametrize("override", ["engine.dtype=float32", "training.actor.precision=fp32", "seed=1"])
def test_what_decides_results_names_another_run(override):
    assert load_config("llama3-8b", overrides=[override]).default_run_id() != load_config("llama3-8b").default_run_id()


def test_a_configuration_of_another_version_is_compared_as_it_stands():
    plain = RunConfig().model_dump(mode="json")
    older = {**plain, "engine": {**plain["engine"], "gone": 1}}
    assert deciding(older) != deciding(plain)
    assert deciding({"lr": 1}) == {"lr": 1}


def test_the_section_of_a_method_that_is_not_chosen_names_no_run():
    assert "grpo" not in deciding(load_config("starter").model_dump(mode="json"))["training"]
    slower, chosen = "training.grpo.learning_rate=1e-5", "method.pairs.method=grpo"
    assert load_config("starter", overrides=[slower]).default_run_id() == load_config("starter").default_run_id()
    ids = {load_config("starter", overrides=[chosen, *more]).default_run_id() for more in ([], [slower])}
    assert len(ids) == 2


def test_spreading_the_work_changes_no_run_id():
    plain = RunConfig()
    assert plain.default_run_id() == build_config({"orchestration": {"shard_size": 7}}).default_run_id()
    assert plain.default_run_id() != build_config({"seed": 1}).default_run_id()


def test_a_configuration_from_before_the_section_scale_is_the_same():
    plain = RunConfig().model_dump(mode="json")
    older = {key: value for key, value in plain.items() if key != "scale"}
    assert "scale" in plain
    assert (deciding(older), naming(older)) == (deciding(plain), naming(plain))
