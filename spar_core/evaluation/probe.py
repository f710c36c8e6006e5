"""A probe of a model: what it makes of a few real requests as actor, judge and refiner, under one or more prompt sets.

What counts as readable is decided by the code that reads votes and rewrites in a run.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from spar_core.config.method import MethodConfig
from spar_core.engines.base import Engine, Generation, GenerationRequest, Sampling
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import wilson
from spar_core.evaluation.truth import constraints_in_words
from spar_core.prompts.library import PromptLibrary
from spar_core.records import Message, Prompt, Response, Verdict
from spar_core.roles.actor import Actor
from spar_core.roles.asking import ask
from spar_core.roles.in_flight import all_results
from spar_core.roles.refiner import JudgementOutcome, Refiner, Rewrite

ProbedRole = Literal["actor", "judge", "refiner"]
_FINDING = "It breaks at least one rule of the request."  # where no vote says what
_SHOWN = 160  # characters of an example
_ROOM = 1.25  # a limit that fits leaves this much above the longest texts but one in twenty
_STEP = 64  # tokens that limits are rounded up to
_RARELY_CUT = 0.05
_ONE_VOTE = {"votes": 1, "quorum": 1, "max_reasks": 0, "wordings": 1, "second_voter": None, "anchor": "none"}


@dataclass(frozen=True, slots=True)
class RoleProbe:
    """What one role made of its requests.

    Fields:
        prompt_set: whose texts it was asked with; empty for the actor.
        limit: most new tokens it was given; `own_limit` is the method's, `own_limit_key` its name.
        readable: answers that are there, votes with a verdict, rewrites that can be used.
        open: texts that only the probe's limit cut: nothing is known of them.
        cut: texts that ended at the limit.
        unchanged: rewrites that repeat the answer word for word.
        refused: requests the engine refused.
        tokens: of every text, thoughts included.
        seconds: for all of it, the requests at once; what was asked beside them takes its part by its tokens.
        example: how the first text that cannot be read begins.
    """

    role: ProbedRole
    prompt_set: str
    limit: int
    own_limit: int
    requests: int
    readable: int
    open: int
    cut: int
    unchanged: int
    refused: int
    tokens: tuple[int, ...]
    seconds: float
    example: str = ""

    @property
    def share(self) -> Estimate:
        """Share that is readable, of what is known."""
        return wilson(self.readable, self.requests - self.open, self.open)

    @property
    def cut_share(self) -> float:
        """Share of the texts that ended at the limit, in [0, 1]."""
        return self.cut / len(self.tokens) if self.tokens else 0.0

    @property
    def rate(self) -> float:
        """Tokens per second over all requests at once."""
        return sum(self.tokens) / self.seconds if self.seconds else 0.0

    def length(self, share: float) -> int:
        """Tokens that this share of the texts does not exceed."""
        return int(np.quantile(self.tokens, share, method="inverted_cdf")) if self.tokens else 0

    @property
    def fitting_limit(self) -> int | None:
        """A token limit that hardly cuts; None where too many were cut to tell."""
        if not self.tokens or self.cut_share > _RARELY_CUT:
            return None
        return -(-int(self.length(0.95) * _ROOM) // _STEP) * _STEP

    @property
    def limit_key(self) -> str:
        """The key of the role's token limit."""
        return {"actor": "responses", "judge": "judging", "refiner": "refinement"}[self.role]

    def plain(self) -> dict[str, Any]:
        """JSON-like values: the fields that are not figures of a single text, and what they come to."""
        names = ("role", "prompt_set", "limit", "own_limit", "requests", "readable", "open", "cut", "unchanged")
        return {
            **{name: getattr(self, name) for name in (*names, "refused", "example")},
            "share": self.share.plain(),
            "tokens": {"median": self.length(0.5), "p95": self.length(0.95), "fitting_limit": self.fitting_limit},
            "tokens_per_s": round(self.rate, 1),
        }

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """Of what `dataclasses.asdict` gave and JSON kept."""
        return cls(**{**values, "tokens": tuple(values["tokens"])})


class SetProbe(NamedTuple):
    """Both roles of the refiner under one prompt set."""

    judge: RoleProbe
    refiner: RoleProbe


class Prober:
    """Asks one actor and one refiner. `most_tokens` caps every text; the actor is asked once for all prompt sets."""

    def __init__(
        self,
        actor: Engine,
        refiner: Engine,
        prompts: Sequence[Prompt],
        method: MethodConfig,
        seed: int,
        most_tokens: int,
    ) -> None:
        self._actor, self._refiner = _Metered(actor), refiner
        self._prompts = prompts
        self._method = method
        self._seed = seed
        self._most = most_tokens
        self._answered: tuple[RoleProbe, list[tuple[Prompt, Response]]] | None = None

    async def actor(self) -> RoleProbe:
        """What the actor made of the prompts.

        Raises:
            EngineUnavailableError: no answer after all retries.
        """
        return (await self._answers())[0]

    async def prompt_sets(self, libraries: Sequence[PromptLibrary]) -> list[SetProbe]:
        """What the refiner makes of the actor's answers under each prompt set: one vote and one rewrite of each.

        A rewrite is asked for with the finding of a vote that says NO, else with none in particular. All is asked at
        once, as a run does: the rate is that of all of it.

        Raises:
            EngineUnavailableError: no answer after all retries.
        """
        await self._answers()
        meter = _Metered(self._refiner)
        await meter.start()
        found = await all_results([self._prompt_set(library) for library in libraries])
        seconds = meter.seconds
        together = sum(sum(role.tokens) for pair in found for role in pair) or 1
        timed = [[replace(role, seconds=seconds * sum(role.tokens) / together) for role in pair] for pair in found]
        return [SetProbe(*pair) for pair in timed]

    async def _prompt_set(self, library: PromptLibrary) -> SetProbe:
        _, answers = await self._answers()
        method = self._method
        voting = method.judging.model_copy(
            update={**_ONE_VOTE, "max_tokens": min(method.judging.max_tokens, self._most)}
        )
        rewriting = method.refinement.model_copy(update={"max_tokens": min(method.refinement.max_tokens, self._most)})
        votes, rewritten = _Metered(self._refiner), _Metered(self._refiner)
        judge = Refiner(votes, library, voting, rewriting, constraints=constraints_in_words(self._prompts))
        refiner = Refiner(rewritten, library, voting, rewriting)

        async def asked(prompt: Prompt, answer: Response) -> tuple[JudgementOutcome, Rewrite]:
            outcome = await judge.judge(answer.response_id, prompt.text, answer.text, self._seed)
            made = await refiner.refine(prompt.text, answer.text, _finding(outcome), self._seed, 1)
            return outcome, made[0]

        both = await all_results([asked(prompt, answer) for prompt, answer in answers])
        outcomes, rewrites = [outcome for outcome, _ in both], [rewrite for _, rewrite in both]
        before = [answer.text for _, answer in answers]
        usable = self._rewritten(rewritten, library, rewrites, before)
        return SetProbe(self._judged(votes, library, outcomes), usable)

    async def _answers(self) -> tuple[RoleProbe, list[tuple[Prompt, Response]]]:
        if self._answered is None:
            method = self._method
            config = method.responses.model_copy(
                update={"per_prompt": 1, "max_tokens": min(method.responses.max_tokens, self._most)}
            )
            await self._actor.start()
            actor = Actor(self._actor, config)
            outcomes = await all_results([actor.answer(prompt, self._seed) for prompt in self._prompts])
            answers = [
                (prompt, outcome.responses[0])
                for prompt, outcome in zip(self._prompts, outcomes, strict=True)
                if outcome.responses
            ]
            there = [answer for _, answer in answers if answer.text.strip()]
            capped = config.max_tokens < method.responses.max_tokens
            undecided = sum(capped and answer.lost == "cut_thought" for _, answer in answers)
            found = _Found(len(outcomes), len(there), undecided, len(outcomes) - len(answers))
            probe = self._actor.role("actor", "", (self._most, method.responses.max_tokens), found)
            self._answered = probe, [(prompt, answer) for prompt, answer in answers if answer.text.strip()]
        return self._answered

    def _judged(self, meter: "_Metered", library: PromptLibrary, outcomes: Sequence[JudgementOutcome]) -> RoleProbe:
        own = self._method.judging.max_tokens
        votes = [outcome.votes[0] for outcome in outcomes if outcome.votes]
        unread = [vote for vote in votes if vote.verdict is Verdict.UNPARSEABLE]
        lost = [vote for vote in unread if vote.finish_reason == "stop" or self._most >= own]
        counts = (len(outcomes), len(votes) - len(unread), len(unread) - len(lost), len(outcomes) - len(votes))
        found = _Found(*counts, example=_shortened(next((vote.critique for vote in lost), "")))
        return meter.role("judge", library.name, (self._most, own), found)

    def _rewritten(
        self, meter: "_Metered", library: PromptLibrary, rewrites: Sequence[Rewrite], before: Sequence[str]
    ) -> RoleProbe:
        own = self._method.refinement.max_tokens
        usable = [(rewrite, old) for rewrite, old in zip(rewrites, before, strict=True) if not rewrite.failure]
        refused = sum(rewrite.refused for rewrite in rewrites)
        failed = [rewrite for rewrite in rewrites if rewrite.failure and not rewrite.refused]
        lost = [rewrite for rewrite in failed if rewrite.finish_reason == "stop" or self._most >= own]
        found = _Found(
            *(len(rewrites), len(usable), len(failed) - len(lost), refused),
            unchanged=sum(rewrite.response.strip() == old.strip() for rewrite, old in usable),
            example=_shortened(next((rewrite.text for rewrite in lost), "")),
        )
        return meter.role("refiner", library.name, (self._most, own), found)


def _finding(outcome: JudgementOutcome) -> str:
    said = (vote.critique for vote in outcome.votes if vote.verdict is Verdict.NO)
    return next(said, _FINDING)


class _Found(NamedTuple):
    """Counts of a role's texts, see `RoleProbe`."""

    requests: int
    readable: int
    open: int
    refused: int
    unchanged: int = 0
    example: str = ""


class _Metered:
    """An engine whose texts are counted; what a request with choices continues is a part of one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._texts: list[tuple[int, bool]] = []
        self._since = time.perf_counter()

    @property
    def model_digest(self) -> str:
        return self._engine.model_digest

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._since

    async def start(self) -> None:
        """Begin to count: the model is loaded by then, which is no part of its speed."""
        await ask(self._engine, (Message("user", "Hello."),), Sampling(0.0, 1.0, 1), 0, 1)
        self._texts, self._since = [], time.perf_counter()

    async def generate(self, request: GenerationRequest) -> Generation:
        generation = await self._engine.generate(request)
        if not request.choices:
            self._texts += [(one.completion_tokens, one.finish_reason == "length") for one in generation.completions]
        return generation

    async def close(self) -> None:
        await self._engine.close()

    def role(self, role: ProbedRole, prompt_set: str, limits: tuple[int, int], found: _Found) -> RoleProbe:
        """What was counted since the start, as the probe of a role. `limits`: the probe's and the method's own."""
        return RoleProbe(
            **found._asdict(),
            role=role,
            prompt_set=prompt_set,
            limit=min(limits),
            own_limit=limits[1],
            cut=sum(cut for _, cut in self._texts),
            tokens=tuple(tokens for tokens, _ in self._texts),
            seconds=self.seconds,
        )


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
