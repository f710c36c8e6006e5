"""What makes a stage key another one: whatever changes answers, and nothing else."""

import dataclasses
import json
from pathlib import Path

import pytest

from flows.wiring.stage_calls import file_ref
from spar_core.config.run import OrchestrationConfig
from spar_core.engines.configuration import EngineConfig, TransformersEngineConfig, VllmEngineConfig
from storage.home import Home
from tasks import sources
from tasks.calls import FileRef, StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.evaluation import EVAL_PROMPTS
from tasks.prompts import PROMPTS
from tasks.shards import ShardContext, ShardRows
from tasks.sources import data_digest, module_digest
from tasks.stages import Stage


def call(engine: EngineConfig | None = None, **changes: object) -> StageCall:
    engines = {"actor": engine or VllmEngineConfig(), "refiner": VllmEngineConfig(max_model_len=99)}
    base = StageCall("responses", 1, "/home", "run", 1, 7, models={"actor": ModelRef("weights", "/m")}, engines=engines)
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    "engine",
    [
        VllmEngineConfig(max_model_len=512),
        VllmEngineConfig(dtype="float16"),
        VllmEngineConfig(extra_args=("--quantization", "fp8")),
        VllmEngineConfig(extra_args=("--chat-template", "other.jinja")),
        TransformersEngineConfig(),
    ],
)
def test_engine_settings_that_change_answers_are_in_the_key(engine):
    assert call(engine).key != call().key


@pytest.mark.parametrize(
    "engine",
    [VllmEngineConfig(gpu_memory_utilization=0.5), VllmEngineConfig(max_concurrency=3), VllmEngineConfig(port=8123)],
)
def test_engine_settings_that_change_none_are_not(engine):
    assert call(engine).key == call().key


def test_only_the_engines_of_models_the_stage_has_count():
    others = {"actor": VllmEngineConfig(), "refiner": TransformersEngineConfig()}
    assert call(engines=others).key == call().key


def test_where_and_how_it_runs_is_not_in_the_key():
    elsewhere = {"home": "/other", "run_id": "other", "iteration": 9}
    sharded = Surroundings(OrchestrationConfig(shard_size=3))
    assert call(**elsewhere, surroundings=sharded).key == call().key
    assert call(models={"actor": ModelRef("weights", "/moved")}).key == call().key


def test_files_count_by_content_whatever_they_are_called(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for file in (first, second):
        file.write_text('{"prompt": "Hi"}\n')
    assert call(files={"prompts": file_ref(first)}).key == call(files={"prompts": file_ref(second)}).key
    before = call(files={"prompts": file_ref(first)}).key
    first.write_text('{"prompt": "Ho"}\n')
    assert call(files={"prompts": file_ref(first)}).key != before
    assert call(files={"prompts": FileRef("weights", "/m")}, models={}).key != call(models={}).key


def test_another_world_gives_another_key(tmp_path, monkeypatch):
    """The held-out prompts of an older world were handed to new models, and reported as cached."""
    before = {stage.name: stage.data_digest() for stage in (PROMPTS, EVAL_PROMPTS)}
    words = tmp_path / "words.py"
    words.write_text(Path(sources._source("spar_core.starter.words")).read_text() + '\nMORE = ("birds",)\n')
    found = sources._found

    def changed(name: str) -> Path | None:
        return words if name == "spar_core.starter.words" else found(name)

    monkeypatch.setattr(sources, "_found", changed)
    for cache in (sources._parsed, sources.module_digest):
        cache.cache_clear()
    after = {stage.name: stage.data_digest() for stage in (PROMPTS, EVAL_PROMPTS)}
    for cache in (sources._parsed, sources.module_digest):
        cache.cache_clear()
    assert all(after[name] != before[name] for name in before)
    assert call(data_digest=after["eval_prompts"]).key != call(data_digest=before["eval_prompts"]).key


def test_package_data_count_by_their_bytes(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "seeds.jsonl").write_text("a")
    monkeypatch.setattr(sources, "_source", lambda name: tmp_path / "__init__.py")
    first = data_digest(["made.up/data"])
    (tmp_path / "data" / "seeds.jsonl").write_text("b")
    sources._folder_digest.cache_clear()
    assert data_digest(["made.up/data"]) != first


def test_wording_of_comments_and_docstrings_does_not_count(tmp_path, monkeypatch):
    source = tmp_path / "module.py"
    monkeypatch.setattr(sources, "_source", lambda name: source)

    def digest_of(text: str) -> str:
        source.write_text(text)
        for cache in (sources._parsed, sources.module_digest):
            cache.cache_clear()
        return module_digest("module")

    plain = digest_of('"""A."""\n\n\nclass Cat:\n    """Meows."""\n\n    name: str\n    """Its."""\n')
    assert digest_of('"""B."""\nclass Cat:\n    # a cat\n    name: str\n    """Whose?"""\n') == plain
    assert digest_of("class Cat:\n    name: int\n") != plain
    assert digest_of('class Cat:\n    name: str\n    greeting = "Meows."\n') != plain


def test_the_manifest_says_what_it_was_made_with(tmp_path):
    def work(context: ShardContext) -> ShardRows:
        context.part.write("prompts", ())
        return ShardRows(0, 0)

    stage = Stage("responses", version=3, work=work, data=("spar_core.synthesis/data",))
    made = call(
        home=str(Home(tmp_path).root),
        version=3,
        files={"prompts": FileRef("questions", "/q.jsonl")},
        data_digest=stage.data_digest(),
    )
    manifest = stage.compute(made).manifest()
    assert (manifest.model_digests, manifest.file_digests) == ({"actor": "weights"}, {"prompts": "questions"})
    assert manifest.engines["actor"]["kind"] == "vllm"
    assert set(manifest.engines) == {"actor"}
    assert (manifest.code_version, manifest.data_digest) == ("3", stage.data_digest())
    assert {"python", "torch", "transformers", "trl", "nltk", "langdetect"} <= set(manifest.libraries)
    assert "/q.jsonl" not in json.dumps(manifest.model_dump(mode="json"))
