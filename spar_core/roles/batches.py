"""Answering and judging many items over one engine, memory flat in their number."""

from collections.abc import AsyncGenerator
from typing import NamedTuple

from spar_core.records import Drop, Judgement, Prompt, Response, Vote
from spar_core.roles.actor import Actor
from spar_core.roles.in_flight import Items, bounded_map
from spar_core.roles.refiner import Refiner

RESPONSES_STAGE = "responses"
JUDGEMENTS_STAGE = "judgements"


class Answered(NamedTuple):
    """One prompt's samples, or the drop that says why there are none."""

    prompt: Prompt
    responses: tuple[Response, ...]
    drop: Drop | None


class Subject(NamedTuple):
    """A response to judge, with the text of its prompt."""

    prompt_text: str
    response: Response


class Judged(NamedTuple):
    """One response's votes, and its judgement or the drop that says why there is none."""

    response: Response
    votes: tuple[Vote, ...]
    judgement: Judgement | None
    drop: Drop | None


def respond_all(
    prompts: Items[Prompt], actor: Actor, run_seed: int, *, max_requests_in_flight: int = 4096, ordered: bool = True
) -> AsyncGenerator[Answered, None]:
    """Answer every prompt; results in the prompts' order, or as they finish.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """

    async def answer(prompt: Prompt) -> Answered:
        outcome = await actor.answer(prompt, run_seed)
        drop = None
        if outcome.failure:
            drop = Drop(RESPONSES_STAGE, prompt.prompt_id, outcome.failure, outcome.detail)
        return Answered(prompt, outcome.responses, drop)

    return bounded_map(answer, prompts, limit=max_requests_in_flight, ordered=ordered)


def judge_all(
    subjects: Items[Subject],
    refiner: Refiner,
    run_seed: int,
    *,
    max_requests_in_flight: int = 4096,
    ordered: bool = True,
) -> AsyncGenerator[Judged, None]:
    """Judge every response; results in the subjects' order, or as they finish.

    One that is lost (`Response.lost`: a thought that was cut) is a drop, and nobody is asked about it.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """

    async def judge(subject: Subject) -> Judged:
        response = subject.response
        if response.lost:
            return Judged(response, (), None, Drop(JUDGEMENTS_STAGE, response.response_id, response.lost))
        outcome = await refiner.judge(
            response.response_id, subject.prompt_text, response.text, run_seed, finish_reason=response.finish_reason
        )
        drop = None
        if outcome.failure:
            drop = Drop(JUDGEMENTS_STAGE, response.response_id, outcome.failure, outcome.detail)
        return Judged(response, outcome.votes, outcome.judgement, drop)

    return bounded_map(judge, subjects, limit=max_requests_in_flight, ordered=ordered)
