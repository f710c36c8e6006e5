"""The actor: answers prompts."""

from typing import NamedTuple

from spar_core.config.method import ResponsesConfig
from spar_core.engines.base import Engine
from spar_core.hashing import content_id, derive_seed
from spar_core.records import Prompt, Response
from spar_core.roles.asking import ask
from spar_core.roles.requests import answer_messages
from spar_core.roles.watch import Watch


class ActorOutcome(NamedTuple):
    """The samples of one prompt, in order of sample index; none where the engine refused (`failure`: its reason)."""

    responses: tuple[Response, ...]
    failure: str | None = None
    detail: str = ""


class Actor:
    """Samples `config.per_prompt` answers per prompt in one request, under a system text where one is given."""

    def __init__(self, engine: Engine, config: ResponsesConfig, watch: Watch | None = None, system: str = "") -> None:
        self._engine = engine
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
        request_seed = derive_seed(seed, "respond", prompt.prompt_id)
        asked = await ask(
            self._engine, answer_messages(prompt.text, self._system), self._sampling, request_seed, self._per_prompt
        )
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
            for index, completion in enumerate(asked.completions)
        )
        self._watch.answered(responses)
        return ActorOutcome(responses, asked.failure, asked.detail)

    async def respond(self, prompt: Prompt, seed: int) -> list[Response]:
        """The samples alone: empty where the engine refused the request. See `answer` for the reason."""
        return list((await self.answer(prompt, seed)).responses)
