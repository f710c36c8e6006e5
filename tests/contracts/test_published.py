"""What the paper and its authors' code published, as data, and that presets, profile and docs/method.md agree with it.

Sources: P the paper (arXiv 2412.11605: method, data, appendix on implementation), C the authors' code
(github.com/thu-coai/SPaR, commit 6497aba: scripts, sft.yaml, dpo.yaml). Read by hand, never from this project.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from spar_core.config import loading
from spar_core.config.loading import build_config, load_config, preset_names
from spar_core.config.run import RunConfig
from spar_core.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "spar_core" / "config"
MODELS = {
    "llama3-8b": "meta-llama/Meta-Llama-3-8B-Instruct",
    "llama3-70b": "meta-llama/Meta-Llama-3-70B-Instruct",
    "glm4-9b": "THUDM/glm-4-9b-chat-hf",
    "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.3",  # P names no revision
}
SFT = {  # C sft.yaml: cutoff_len, per_device_train_batch_size, lr_scheduler_type, warmup_ratio, bf16; P: batch 64
    "max_length": 4096, "micro_batch_size": 2, "schedule": "constant_with_warmup", "warmup_ratio": 0.1,
    "precision": "bf16", "batch_size": 64,
    "overlong": "truncate", "loss_turns": "all",  # C: LLaMA-Factory's cutoff_len and mask_history: false
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "iterations": 3,  # P
    "engine.kind": "vllm",  # C: eight vLLM processes
    "prompts.source": "taxonomy",  # P: 14 constraint groups, one main and one to three others
    "prompts.per_iteration": 10_000,  # P: 30k in three iterations
    "warm_start.source": "teacher",  # P: a strong model
    "warm_start.actor_examples": 8000,  # P
    "warm_start.refiner_examples": 5000,  # P
    "method.prompt_set": "published",  # C: label, markers and turns (the texts are ours)
    "method.responses.per_prompt": 5,  # P
    "method.responses.temperature": 0.9,  # P
    "method.responses.top_p": 0.9,  # P
    "method.responses.max_tokens": 2048,  # C
    "method.judging.votes": 5,  # P
    "method.judging.temperature": 0.7,  # P
    "method.judging.top_p": 1.0,  # C
    "method.judging.max_tokens": 2048,  # C
    "method.judging.quorum": 1,  # C: whatever votes can be read decide
    "method.judging.max_reasks": 0,  # C, for responses
    "method.judging.tie": "drop",  # C
    "method.judging.reasked": "alone",  # C: in the tree, the last round counts
    "method.judging.wordings": 1,  # C
    "method.judging.equal_texts": "each",
    "method.search.votes_asked": "all",  # C
    "method.judging.second_voter": None,  # C
    "method.judging.anchor": "none",  # P
    "method.refinement.temperature": 0.7,  # P
    "method.refinement.top_p": 1.0,  # C
    "method.refinement.max_tokens": 3072,  # C
    "method.search.strategy": "bfs",  # P: BFS and DFS; 15 nodes are one whole BFS
    "method.search.branch": 3,  # P
    "method.search.beam_width": 2,  # P
    "method.search.max_depth": 3,  # P
    "method.search.node_budget": 15,  # P
    "method.search.accept_above": 0.5,  # P
    "method.search.selection": "greedy",  # C
    "method.search.tie_break": "earliest",  # C: sorted by value alone
    "method.search.root_value": "zero",  # C
    "method.search.detect_duplicates": False,  # C
    "method.search.accept_truncated": True,  # C: finish_reason is not read
    "method.search.failed_expansion_costs": False,  # C
    "method.search.rewrite_attempts": 9,  # C: three per call, three calls per expansion
    "method.search.max_reasks": 2,  # C: up to three rounds on a node
    "method.search.cache_values": True,  # C: by the text of the response
    "method.pairs.method": "spar",
    "method.refiner_data.refinements": 4000,  # C
    "method.refiner_data.tree_yes": 1500,  # C
    "method.refiner_data.tree_no": 1000,  # C
    "method.refiner_data.response_no": 500,  # C
    "method.refiner_data.response_yes": 2500,  # C
    "method.refiner_data.unanimous": False,  # C: split votes only
    "method.refiner_data.order": "random",  # C
    "method.refiner_data.balance": False,  # C
    "method.refiner_data.deduplicate": "after_quota",  # C
    "method.refiner_data.target": "verbatim",  # C: the model's own text is the last turn
    "method.refiner_data.replay_fraction": 0.0,  # P: none is mentioned
    "training.actor.beta": 0.1,  # P
    "training.actor.sft_weight": 0.1,  # P; C pref_ftx
    "training.actor.sft_reduction": "sequence",  # C: LLaMA-Factory's average
    "training.actor.ends": "all",  # C: LLaMA-Factory closes every answer
    "training.actor.learning_rate": 2e-7,  # P
    "training.actor.schedule": "linear",  # C dpo.yaml
    "training.actor.warmup_ratio": 0.1,  # C
    "training.actor.epochs": 1.0,  # P
    "training.actor.batch_size": 32,  # P
    "training.actor.micro_batch_size": 2,  # C per_device_train_batch_size
    "training.actor.max_length": 2048,  # C cutoff_len
    "training.actor.overlong": "truncate",  # C: LLaMA-Factory cuts at cutoff_len
    "training.actor.precision": "bf16",  # C
    **{f"training.refiner.{key}": value for key, value in SFT.items()},  # P: as for SFT, except the rate
    "training.refiner.learning_rate": 1e-6,  # P
    "training.refiner.epochs": 3.0,  # P
    **{f"training.warm_start_actor.{key}": value for key, value in SFT.items()},
    "training.warm_start_actor.learning_rate": 2e-6,  # P
    "training.warm_start_actor.epochs": 5.0,  # P
    **{f"training.warm_start_refiner.{key}": value for key, value in SFT.items()},
    "training.warm_start_refiner.learning_rate": 2e-6,  # P
    "training.warm_start_refiner.epochs": 3.0,  # P
    "training.launch.processes": 8,  # P: 8 x 80 GB A100
    "training.launch.sharding": "full",  # C: DeepSpeed ZeRO-3
}
# Set in a model preset, and not published.
OURS = {
    "profile": "takes the published choices",
    "prompts.near_duplicates": "prompts evolved from one seed are alike",
    "prompts.decontaminate": "what the paper measures with must not be trained on",
    "evaluation.source": "held-out prompts with a checker, beside the paper's benchmarks",
    "orchestration.shard_size": "spreads the work",
    "engine.tensor_parallel": "70B parameters need several GPUs to be served",
    **{f"training.{name}.gradient_checkpointing": "fits 80 GB" for name in ("actor", "refiner")},
    **{f"training.warm_start_{name}.gradient_checkpointing": "fits 80 GB" for name in ("actor", "refiner")},
}
ACCUMULATION = {"actor": 2, "refiner": 4, "warm_start_actor": 4, "warm_start_refiner": 4}  # C


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _at(config: RunConfig, path: str) -> Any:
    found: Any = config
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _layer(folder: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIG / folder / f"{name}.yaml").read_text(encoding="utf-8"))


LAYERS = sorted(path.stem for path in (CONFIG / "presets").glob("*.yaml"))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_preset_has_every_published_value(name):
    config = load_config(name)
    wrong = {path: _at(config, path) for path, value in PUBLISHED.items() if _at(config, path) != value}
    assert wrong == {}
    assert config.models.actor == MODELS[name]
    for training, steps in ACCUMULATION.items():
        values = getattr(config.training, training)
        assert values.batch_size == values.micro_batch_size * config.training.launch.processes * steps


@pytest.mark.parametrize("name", MODELS)
def test_a_model_preset_sets_nothing_without_a_source(name):
    given = {path for path, _ in _leaves(loading._preset(name))} | {
        path for path, _ in _leaves(_layer("profiles", "paper"))
    }
    assert given - {"models.actor"} - PUBLISHED.keys() - OURS.keys() == set()


@pytest.mark.parametrize("name", LAYERS)
def test_a_preset_sets_nothing_that_would_be_so_without_it(name):
    layer = _layer("presets", name)
    parent = layer.pop("extends", None)
    below = loading._preset(parent) if parent else {}
    whole = build_config(loading._merge(below, layer))

    def needless(path: str) -> bool:
        try:
            return build_config(loading._merge(below, _without(layer, path))) == whole
        except ConfigError:
            return False

    assert [path for path, _ in _leaves(layer) if needless(path)] == []


def test_the_paper_profile_holds_differences_alone():
    ours = RunConfig()
    assert [path for path, value in _leaves(_layer("profiles", "paper")) if _at(ours, path) == value] == []


def _without(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    kept = {key: value for key, value in values.items() if key != name}
    below = _without(values[name], rest) if rest else {}
    return {**kept, name: below} if below else kept


def _rows(heading: str, columns: int) -> list[list[str]]:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", text.partition(heading)[2])[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert all(len(row) == columns for row in rows)
    return rows[2:]  # below the head and its rule


@pytest.mark.parametrize("row", _rows("## Published choice, our default", 4), ids=lambda row: row[0])
def test_a_row_of_the_method_tells_what_was_published(row):
    """That profile and defaults are as the row says: tests/spar_core/config/test_paper_table.py."""
    option, published, _, _ = row
    path = option.strip("`")
    assert path in PUBLISHED, "a fact without a source: enter it in PUBLISHED"
    assert yaml.safe_load(published.strip("`")) == PUBLISHED[path]


@pytest.mark.parametrize("row", _rows("### Further options", 3), ids=lambda row: row[0])
def test_a_further_option_is_off_as_published(row):
    option, default, _ = row
    path = option.strip("`")
    assert yaml.safe_load(default.strip("`")) == _at(RunConfig(), path) == PUBLISHED[path]
    assert _at(build_config({"profile": "paper"}), path) == PUBLISHED[path]


def test_every_preset_can_be_loaded():
    assert set(preset_names()) == {name for name in LAYERS if not name.startswith("_")}
    assert all(load_config(name).preset == name for name in preset_names())
