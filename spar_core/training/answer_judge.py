"""The run's refiner as a judge of answers that a training draws: the votes of self-play, in the training's process."""

import asyncio
from collections.abc import Iterable, Sequence

from spar_core.config.method import RefinementConfig
from spar_core.engines.factory import open_engine
from spar_core.engines.usage import EngineStats, MeteredEngine, UsageMeter
from spar_core.evaluation.truth import anchor_of, constraints_in_words
from spar_core.hashing import content_id
from spar_core.prompts import PromptLibrary
from spar_core.records import Prompt
from spar_core.roles import Refiner
from spar_core.training.specification import JudgeSpec

_CACHE_GIB = 2.0  # the training beside it needs the rest


class AnswerJudge:
    """A `Judge` of answers to some prompts. Its model is loaded when it is first asked; close it at the end."""

    def __init__(self, spec: JudgeSpec, prompts: Iterable[Prompt], seed: int) -> None:
        self._spec = spec
        self._prompts = list(prompts)
        self._seed = seed
        self._meter = UsageMeter()
        self._loop = asyncio.Runner()
        self._refiner: Refiner | None = None
        self._engine: MeteredEngine | None = None

    @property
    def usage(self) -> EngineStats:
        """What it has read and written."""
        return self._meter.stats

    def __call__(self, answers: Sequence[tuple[Prompt, str]]) -> list[float]:
        """The value of each judgement, 0 where the votes make none.

        Raises:
            EngineError: the refiner cannot be loaded, or refuses to answer.
        """
        return self._loop.run(self._judged(answers))

    def close(self) -> None:
        """Free the model."""
        if self._engine is not None:
            self._loop.run(self._engine.close())
        self._loop.close()

    async def _judged(self, answers: Sequence[tuple[Prompt, str]]) -> list[float]:
        refiner = self._refiner or await self._opened()
        asked = (
            refiner.judge(content_id("answer", prompt.prompt_id, text), prompt.text, text, self._seed)
            for prompt, text in answers
        )
        outcomes = await asyncio.gather(*asked)
        return [0.0 if outcome.judgement is None else outcome.judgement.value for outcome in outcomes]

    async def _opened(self) -> Refiner:
        spec = self._spec
        served = spec.engine.model_copy(update={"cache_gib": spec.engine.cache_gib or _CACHE_GIB})
        self._engine = MeteredEngine(await open_engine(served, spec.model_folder), self._meter)
        library = PromptLibrary.load(spec.prompt_set)
        verifier = anchor_of(spec.judging, self._prompts)
        listed = constraints_in_words(self._prompts)
        self._refiner = Refiner(self._engine, library, spec.judging, RefinementConfig(), verifier, constraints=listed)
        return self._refiner
