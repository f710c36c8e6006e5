"""The actor: answers prompts."""

from collections.abc import Sequence
from typing import NamedTuple

from spar_core.config.method import ResponsesConfig
from spar_core.engines.base import Engine
from spar_core.hashing import content_id, derive_seed
from spar_core.records import Message, Prompt, Response
from spar_core.roles.asking import ask
from spar_core.roles.requests import answer_messages
from spar_core.roles.watch import Watch

EARLIER_TURN = "earlier_turn_unanswered"


class ActorOutcome(NamedTuple):
    """The samples of one prompt, in order of sample index; none where the engine refused (`failure`: its reason)."""

    responses: tuple[Response, ...]
    failure: str | None = None
    detail: str = ""


class Actor:
    """Samples `config.per_prompt` answers per prompt in one request, under a system text where one is given.

    `first`: the index of the first of them, where so many were drawn before.
    """

    def __init__(
        self, engine: Engine, config: ResponsesConfig, watch: Watch | None = None, system: str = "", *, first: int = 0
    ) -> None:
        self._engine = engine
        self._first = first
        self._system = system
        self._watch = watch or Watch({})
        self._sampling = config.sampling()
        self._per_prompt = config.per_prompt

    async def answer(self, prompt: Prompt, seed: int) -> ActorOutcome:
        """Sample answers; a refused request is an outcome.

        Args:
            prompt: what to answer.
            seed: the run's seed; the request's is derived from it and the prompt's id.

        Raises:
            EngineUnavailableError: no answer after all retries.
            FruitlessError: too many of the answers so far are cut.
        """
        later = (self._first,) if self._first else ()
        request_seed = derive_seed(seed, "respond", prompt.prompt_id, *later)
        samples = range(self._first, self._first + self._per_prompt)
        return await self._ask(prompt, answer_messages(prompt.text, self._system), request_seed, samples)

    async def converse(self, turns: Sequence[Prompt], seed: int, sample: int = 0) -> list[ActorOutcome]:
        """Answer the turns of a chat one after another, each with all that was said before; an outcome per turn.

        After a refused turn the others are not asked (`EARLIER_TURN`).

        Args:
            turns: what the user says, in order.
            seed: the run's seed; each request's is derived from it, the turn's id and the sample.
            sample: which of several chats over the same turns this is.

        Raises:
            EngineUnavailableError: no answer after all retries.
            FruitlessError: too many of the answers so far are cut.
        """
        said: tuple[Message, ...] = ()
        outcomes: list[ActorOutcome] = []
        for turn in turns:
            if outcomes and outcomes[-1].failure:
                outcomes.append(ActorOutcome((), EARLIER_TURN, outcomes[-1].detail))
                continue
            said = (*said, Message("user", turn.text)) if said else answer_messages(turn.text, self._system)
            request_seed = derive_seed(seed, "respond", turn.prompt_id, sample)
            outcomes.append(await self._ask(turn, said, request_seed, range(sample, sample + 1)))
            said = (*said, *(Message("assistant", response.text) for response in outcomes[-1].responses))
        return outcomes

    async def _ask(
        self, prompt: Prompt, messages: tuple[Message, ...], request_seed: int, samples: range
    ) -> ActorOutcome:
        asked = await ask(self._engine, messages, self._sampling, request_seed, len(samples))
        digest = self._engine.model_digest
        responses = tuple(
            Response(
                content_id("response", prompt.prompt_id, digest, request_seed, index, completion.text),
                prompt.prompt_id,
                index,
                completion.text,
                completion.finish_reason,
                asked.prompt_tokens,
                completion.completion_tokens,
                digest,
                request_seed,
                completion.thought,
            )
            for index, completion in zip(samples, asked.completions, strict=False)
        )
        self._watch.answered(responses)
        return ActorOutcome(responses, asked.failure, asked.detail)

    async def respond(self, prompt: Prompt, seed: int) -> list[Response]:
        """The samples alone: empty where the engine refused the request. See `answer` for the reason."""
        return list((await self.answer(prompt, seed)).responses)
