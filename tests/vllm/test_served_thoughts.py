"""Thoughts, template variables and dates with a real vLLM server. Run with `pytest -m vllm`."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.thoughts import Tags, ThoughtRules
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.engines.vllm_server import SERVED_NAME
from spar_core.records import Message
from tests.chat_templates import save_family_model
from tests.vllm.vllm_environment import PYTHON, needs_vllm

TAGS = Tags("q", "e")  # letters as tags: a random model writes them often
DATED = "{{- 'day ' + strftime_now('%Y:%m:%d') + '\\n' }}"

pytestmark = needs_vllm(1200)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmEngine]:
    """A model whose template opens the thought and writes the date."""
    folder = save_family_model(tmp_path_factory.mktemp("served"), "qwen3-thinking")
    file = folder / "chat_template.jinja"
    file.write_text(DATED + file.read_text().replace("<think>", TAGS.opening).replace("</think>", TAGS.closing))
    config = VllmEngineConfig(
        python=str(PYTHON),
        dtype="float32",
        cpu_cache_gib=1,
        thought_tags=(TAGS,),
        thought_tokens=20,
        extra_args=("--enforce-eager",),
        log_folder=tmp_path_factory.mktemp("logs"),
    )
    opened = VllmEngine(config, str(folder))
    yield opened
    asyncio.run(opened.close())


def ask(engine: VllmEngine | OpenAIEngine, asked: GenerationRequest) -> Generation:
    return asyncio.run(engine.generate(asked))


def request(n: int = 8, max_tokens: int = 30) -> GenerationRequest:
    return GenerationRequest((Message("user", "hi?"),), Sampling(1.0, 1.0, max_tokens), 5, n)


def test_a_thought_that_the_template_opened_is_split_from_what_the_server_wrote(engine: VllmEngine) -> None:
    raw = OpenAIEngine(
        [engine.fleet.servers[0].base_url], SERVED_NAME, VllmEngineConfig(thoughts="none"), model_digest="x"
    )
    texts = [completion.text for completion in ask(raw, request(max_tokens=50)).completions]
    asyncio.run(raw.close())
    rules = ThoughtRules("opened", (TAGS,))
    got = ask(engine, request()).completions
    # Both asked for fifty tokens: thirty of the answer, twenty of the thought.
    assert [(entry.thought, entry.text) for entry in got] == [tuple(rules.split(text)) for text in texts]
    assert any(entry.thought and entry.text for entry in got)


def test_the_server_writes_the_same_day_every_day(engine: VllmEngine) -> None:
    root = engine.fleet.servers[0].base_url.removesuffix("/v1")
    asked = {"model": SERVED_NAME, "messages": [{"role": "user", "content": "hi?"}], "return_token_strs": True}
    answer = httpx.post(f"{root}/tokenize", json=asked, timeout=60, trust_env=False).json()
    assert "day 2024:07:26" in "".join(answer["token_strs"])
