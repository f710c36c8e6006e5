"""Verdicts as continuations by a real vLLM server: held to the two words, as likely as the model in process says."""

import asyncio

import pytest

from spar_core.engines.base import Engine, Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.engines.transformers_engine import TransformersEngine
from spar_core.engines.vllm_server import SERVED_NAME, VllmServer
from spar_core.prompts import PromptLibrary
from spar_core.records import Message
from spar_core.roles.requests import judge_messages
from spar_core.starter import base_model_dir
from spar_core.starter.world import generate_prompts
from tests.vllm.vllm_environment import needs_vllm

pytestmark = needs_vllm(900)
CHOICES = (" YES", " NO")
LIBRARY = PromptLibrary.load("starter")


def asked(text: str, prompt: str, seed: int) -> GenerationRequest:
    begun = Message("assistant", f"{text}\nFinal verdict:")
    return GenerationRequest(
        (*judge_messages(LIBRARY, prompt, "apple, banana"), begun), Sampling(1.0), seed, 1, CHOICES
    )


REQUESTS = [
    asked(f"Items apple, banana: {said}.", prompt.text, seed)
    for seed, (prompt, said) in enumerate(zip(generate_prompts(8, 1, "dev"), ["met", "missed"] * 4, strict=True))
]


def answers(engine: Engine) -> list[Generation]:
    async def run() -> list[Generation]:
        try:
            return await asyncio.gather(*map(engine.generate, REQUESTS))
        finally:
            await engine.close()

    return asyncio.run(run())


def test_a_server_is_held_to_the_choices_as_the_engine_in_process_is(starter_server: VllmServer) -> None:
    served = answers(OpenAIEngine([starter_server.base_url], SERVED_NAME, VllmEngineConfig()))
    inside = answers(TransformersEngine(base_model_dir(), device="cpu", threads=1))
    assert {one.completions[0].text.strip() for one in served} <= {"YES", "NO"}
    for there, here in zip(served, inside, strict=True):
        assert there.completions[0].shares == pytest.approx(here.completions[0].shares, abs=1e-3)
        assert there.prompt_tokens == here.prompt_tokens
