"""Answering and judging many items over one engine, memory flat in their number."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from spar_core.records import Drop, FinishReason, Judgement, Prompt, Response, Vote
from spar_core.roles.actor import Actor
from spar_core.roles.ballot import EVERY_VOTE, Wanted
from spar_core.roles.in_flight import Items, bounded_map
from spar_core.roles.refiner import JudgementOutcome, Refiner

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
    equal_texts: Literal["each", "once"] = "each",
    wanted: Wanted = EVERY_VOTE,
) -> AsyncGenerator[Judged, None]:
    """Judge every response; results in the subjects' order, or as they finish.

    One that is lost (`Response.lost`: a thought that was cut) is a drop, and nobody is asked about it.

    Args:
        subjects: pulled lazily.
        refiner: asked for votes.
        run_seed: the run's seed.
        max_requests_in_flight: subjects being judged at once.
        ordered: yield in the order of the subjects.
        equal_texts: as `judging.equal_texts`; answers to one prompt have to stand together.
        wanted: as `Refiner.judge` takes it.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """
    shared = _Shared()

    async def judge(subject: Subject) -> Judged:
        response = subject.response
        if response.lost:
            return Judged(response, (), None, Drop(JUDGEMENTS_STAGE, response.response_id, response.lost))
        if equal_texts == "each":
            return _judged(response, await own_votes(subject))
        first, asking = shared.question(subject, own_votes)
        outcome = await asking
        if first != response.response_id:
            outcome = outcome._replace(votes=(), judgement=_taken_over(outcome.judgement, response.response_id, first))
        return _judged(response, outcome)

    async def own_votes(subject: Subject) -> JudgementOutcome:
        response = subject.response
        about = (response.response_id, subject.prompt_text, response.text, run_seed)
        return await refiner.judge(*about, finish_reason=response.finish_reason, wanted=wanted)

    return bounded_map(judge, subjects, limit=max_requests_in_flight, ordered=ordered)


class _Shared:
    """The questions about the answers to one prompt: those that are equal to the letter, and end alike, are one."""

    def __init__(self) -> None:
        self._prompt_id = ""
        self._asking: dict[tuple[str, FinishReason], tuple[str, asyncio.Future[JudgementOutcome]]] = {}

    def question(
        self, subject: Subject, ask: Callable[[Subject], Coroutine[Any, Any, JudgementOutcome]]
    ) -> tuple[str, asyncio.Future[JudgementOutcome]]:
        """Whose votes they are, and the outcome to wait for. Who waits is cancelled with all others."""
        response = subject.response
        if response.prompt_id != self._prompt_id:
            self._prompt_id, self._asking = response.prompt_id, {}
        text = (response.text, response.finish_reason)
        if text not in self._asking:
            self._asking[text] = (response.response_id, asyncio.ensure_future(ask(subject)))
        return self._asking[text]


def _judged(response: Response, outcome: JudgementOutcome) -> Judged:
    drop = None
    if outcome.failure:
        drop = Drop(JUDGEMENTS_STAGE, response.response_id, outcome.failure, outcome.detail)
    return Judged(response, outcome.votes, outcome.judgement, drop)


def _taken_over(judgement: Judgement | None, response_id: str, first: str) -> Judgement | None:
    return None if judgement is None else replace(judgement, response_id=response_id, votes_of=first)
