"""Requests to an `OpenAIEngine` and what its stand-in server answers."""

import asyncio
from typing import Any

from misbehaving_server import Reply, proper

from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import ServedSettings
from spar_core.engines.openai_engine import OpenAIEngine
from spar_core.records import Message


def request(text: str = "hi", seed: int = 10, n: int = 1, system: str | None = None) -> GenerationRequest:
    messages = (Message("user", text),)
    if system is not None:
        messages = (Message("system", system), *messages)
    return GenerationRequest(messages, Sampling(0.7, 0.9, 33), seed, n)


def engine_for(*urls: str, api_key: str | None = None, model_digest: str | None = None, **options: Any) -> OpenAIEngine:
    settings = ServedSettings(**{"max_retries": 4, "timeout_s": 5.0, "max_wait_s": 2.0, **options})
    return OpenAIEngine(urls, "m", settings, api_key=api_key, model_digest=model_digest, backoff_s=0.01)


def ask(engine: OpenAIEngine, *asked: GenerationRequest) -> list[Any]:
    async def run() -> list[Any]:
        try:
            return await asyncio.gather(*(engine.generate(one) for one in asked), return_exceptions=True)
        finally:
            await engine.close()

    return asyncio.run(run())


def ask_one(engine: OpenAIEngine, asked: GenerationRequest | None = None) -> Generation:
    result = ask(engine, asked or request())[0]
    if isinstance(result, BaseException):
        raise result
    return result


def texts(generation: Generation) -> list[str]:
    return [completion.text for completion in generation.completions]


def at_first(reply: Reply, times: int = 1) -> Any:
    return lambda body, call: reply if call < times else proper(body)


def always(reply: Reply) -> Any:
    return lambda body, call: reply
