"""Asking an engine such that a refusal of one request is an outcome, not a crash."""

from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from spar_core.engines.base import Completion, Engine, GenerationRequest, Sampling
from spar_core.errors import RequestRejectedError
from spar_core.records import Message
from spar_core.roles.in_flight import all_results

WRONG_COUNT = "wrong_completion_count"


class Asked(NamedTuple):
    """The completions of one request, or why there are none (`failure`: a slug; `detail`: the engine's words)."""

    completions: tuple[Completion, ...]
    prompt_tokens: int
    failure: str | None = None
    detail: str = ""


async def ask(
    engine: Engine,
    messages: tuple[Message, ...],
    sampling: Sampling,
    seed: int,
    count: int,
    choices: tuple[str, ...] = (),
    first: int = 0,
    prefix: str = "",
) -> Asked:
    """Ask for `count` completions; `choices`, `first` and `prefix` as in `GenerationRequest`.

    Raises:
        EngineUnavailableError: the engine is gone; not an outcome of this request.
    """
    try:
        asked = GenerationRequest(messages, sampling, seed, count, choices, first, prefix)
        generation = await engine.generate(asked)
    except RequestRejectedError as error:
        return Asked((), 0, error.reason, str(error))
    if len(generation.completions) != count:
        detail = f"the engine gave {len(generation.completions)} completions of {count}"
        return Asked((), generation.prompt_tokens, WRONG_COUNT, detail)
    return Asked(generation.completions, generation.prompt_tokens)


async def ask_together(questions: Sequence[Coroutine[Any, Any, Asked]]) -> list[Asked]:
    """Ask several at once; their outcomes in order, up to and with the first refusal.

    Raises:
        EngineUnavailableError: the engine is gone; what is still being asked is cancelled.
    """
    outcomes = []
    for asked in await all_results(questions):
        outcomes.append(asked)
        if asked.failure:
            break
    return outcomes
