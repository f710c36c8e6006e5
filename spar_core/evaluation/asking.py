"""Asking an engine one question of a benchmark: an answer, or the reason why there is none."""

from typing import NamedTuple

from spar_core.engines.base import Engine, GenerationRequest, Sampling
from spar_core.errors import RequestRejectedError
from spar_core.hashing import derive_seed
from spar_core.records import Message


class Reply(NamedTuple):
    """One completion; `text` is null where the engine refused the request for good (`reason` says why)."""

    text: str | None
    reason: str = ""
    truncated: bool = False


async def ask(
    engine: Engine, messages: tuple[Message, ...], sampling: Sampling, seed: int, stage: str, item_id: str
) -> Reply:
    """One completion, its seed derived from (`seed`, `stage`, `item_id`).

    Raises:
        EngineUnavailableError: no answer after all retries.
    """
    request = GenerationRequest(messages, sampling, derive_seed(seed, stage, item_id))
    try:
        completion = (await engine.generate(request)).completions[0]
    except RequestRejectedError as error:
        return Reply(None, error.reason)
    return Reply(completion.text, truncated=completion.finish_reason == "length")


class JudgeIdentity(NamedTuple):
    """Who wrote a file's judgements: the name the user gave, and warnings."""

    name: str
    warnings: tuple[str, ...]


def judge_of_file(name: str | None) -> JudgeIdentity:
    """Name the judge of a file of judgements; warns when nobody said who judged."""
    if name:
        return JudgeIdentity(name, ())
    return JudgeIdentity(
        "not named", ("the judgements come from a judge that was not named; scores depend on the judge",)
    )
