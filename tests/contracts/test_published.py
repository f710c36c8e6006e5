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
from pydantic import BaseModel

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
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "iterations": 3,  # P
    "engine.kind": "vllm",  # C: eight vLLM processes
    "prompts.source": "taxonomy",  # P: 14 constraint groups, one main and one to three others
    "prompts.per_iteration": 10_000,  # P: 30k in three iterations
    "warm_start.source": "teacher",  # P: a strong model
    "warm_start.actor_examples": 8000,  # P
    "warm_start.refiner_examples": 5000,  # P
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
    "method.judging.wordings": 1,  # C
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
    "method.refiner_data.replay_fraction": 0.0,  # P: none is mentioned
    "training.actor.beta": 0.1,  # P
    "training.actor.sft_weight": 0.1,  # P; C pref_ftx
    "training.actor.sft_reduction": "sequence",  # C: LLaMA-Factory's average
    "training.actor.learning_rate": 2e-7,  # P
    "training.actor.schedule": "linear",  # C dpo.yaml
    "training.actor.warmup_ratio": 0.1,  # C
    "training.actor.epochs": 1.0,  # P
    "training.actor.batch_size": 32,  # P
    "training.actor.micro_batch_size": 2,  # C per_device_train_batch_size
    "training.actor.max_length": 2048,  # C cutoff_len
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
# How docs/method.md says values in words, where it does not print them.
WORDS = {"after the quota": "after_quota", "before": "before_quota", "yes": True, "no": False, "none": None}


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


def test_a_section_that_is_given_in_part_keeps_its_other_defaults():
    """Where they stood at the place of use alone, naming one key of a section changed its other values."""

    def differing(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
        for name, field in model.model_fields.items():
            if isinstance(field.default, BaseModel):
                if field.default != type(field.default)():
                    yield f"{prefix}{name}"
                yield from differing(type(field.default), f"{prefix}{name}.")

    assert list(differing(RunConfig)) == []


def _rows(heading: str, columns: int) -> list[list[str]]:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    section = re.split(r"\n#+ ", text.partition(heading)[2])[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert all(len(row) == columns for row in rows)
    return rows[2:]  # below the head and its rule


def _says(cell: str, value: Any) -> bool:
    """Whether a table's cell names the value, as a file would hold it or in words; more may follow in brackets."""
    told = cell.partition(" (")[0].strip("`")
    words = {word for word, meant in WORDS.items() if type(meant) is type(value) and meant == value}
    written = f"{value:g}" if isinstance(value, int | float) else str(value)
    return told in {written, str(value).lower(), f"per {value}", *words}


@pytest.mark.parametrize("row", _rows("## Published choice, our default", 4), ids=lambda row: row[0])
def test_a_row_of_the_method_tells_the_published_value_and_ours(row):
    option, published, ours, _ = row
    path = option.strip("`")
    assert path in PUBLISHED, "a fact without a source: enter it in PUBLISHED"
    assert _says(published, PUBLISHED[path])
    assert _at(build_config({"profile": "paper"}), path) == PUBLISHED[path]
    assert _says(ours, _at(RunConfig(), path))


@pytest.mark.parametrize("row", _rows("### Further options", 3), ids=lambda row: row[0])
def test_a_further_option_is_off_as_published(row):
    option, default, _ = row
    path = option.strip("`")
    assert _says(default, PUBLISHED[path])
    assert _at(RunConfig(), path) == _at(build_config({"profile": "paper"}), path) == PUBLISHED[path]


def test_every_choice_of_the_profile_is_a_row():
    told = {row[0].strip("`") for row in _rows("## Published choice, our default", 4)}
    assert {path for path, _ in _leaves(_layer("profiles", "paper"))} - told == set()


def test_every_preset_can_be_loaded():
    assert set(preset_names()) == {name for name in LAYERS if not name.startswith("_")}
    assert all(load_config(name).preset == name for name in preset_names())
