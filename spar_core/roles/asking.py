"""Asking an engine such that a refusal of one request is an outcome, not a crash."""

from typing import NamedTuple

from spar_core.engines.base import Completion, Engine, GenerationRequest, Sampling
from spar_core.errors import RequestRejectedError
from spar_core.records import Message

WRONG_COUNT = "wrong_completion_count"


class Asked(NamedTuple):
    """The completions of one request, or why there are none (`failure`: a slug; `detail`: the engine's words)."""

    completions: tuple[Completion, ...]
    prompt_tokens: int
    failure: str | None = None
    detail: str = ""


async def ask(engine: Engine, messages: tuple[Message, ...], sampling: Sampling, seed: int, count: int) -> Asked:
    """Ask for `count` completions.

    Raises:
        EngineUnavailableError: the engine is gone; not an outcome of this request.
    """
    try:
        generation = await engine.generate(GenerationRequest(messages, sampling, seed, count))
    except RequestRejectedError as error:
        return Asked((), 0, error.reason, str(error))
    if len(generation.completions) != count:
        detail = f"the engine gave {len(generation.completions)} completions of {count}"
        return Asked((), generation.prompt_tokens, WRONG_COUNT, detail)
    return Asked(generation.completions, generation.prompt_tokens)
