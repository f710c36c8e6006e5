"""The scorer: rates responses by an additive rubric, and compares its own judgements.

Self-Rewarding (Yuan et al. 2024, arXiv 2401.10020) and Meta-Rewarding (Wu et al. 2024, arXiv 2407.19594).
Both are asked as `judging` says (votes, sampling, quorum), so that methods compared spend alike on judging; the papers'
own numbers are 3 scores (T 0.7, top_p 0.9) and 11 judgements (T 0.8).
"""

from collections.abc import AsyncGenerator, Coroutine, Sequence
from itertools import permutations
from statistics import fmean, pvariance
from typing import Any, NamedTuple

from spar_core.config.method import JudgingConfig
from spar_core.engines.base import Engine
from spar_core.hashing import derive_seed
from spar_core.prompts.library import PromptLibrary
from spar_core.records import MetaVote, Response, RubricScore, RubricVote
from spar_core.roles.asking import Asked, ask, ask_together
from spar_core.roles.batches import Subject
from spar_core.roles.in_flight import Items, bounded_map
from spar_core.roles.requests import meta_judge_messages, rubric_messages
from spar_core.roles.rubric import parse_better, parse_score


class Scored(NamedTuple):
    """The rubric votes on one response, and their score or the reason why there is none.

    `failure`: `quorum`, the engine's reason for refusing, or why there is nothing to score (`Response.lost`); None
    where there is a score.
    """

    response: Response
    votes: tuple[RubricVote, ...]
    score: RubricScore | None
    failure: str | None = None
    detail: str = ""


class Contest(NamedTuple):
    """A response whose judgements are compared, with the text of its prompt."""

    prompt_text: str
    response: Response
    votes: tuple[RubricVote, ...]


class Compared(NamedTuple):
    """The comparisons of one response's judgements. `failure`: the engine's reason for refusing one of them."""

    response: Response
    votes: tuple[MetaVote, ...]
    failure: str | None = None
    detail: str = ""


class Scorer:
    """Rates and compares over one engine; stateless, safe for any number of concurrent calls."""

    def __init__(self, engine: Engine, library: PromptLibrary, judging: JudgingConfig) -> None:
        self._engine = engine
        self._library = library
        self._judging = judging
        self._sampling = judging.sampling()

    async def score(self, subject: Subject, seed: int) -> Scored:
        """Ask rounds of votes until a quorum of them can be read or `max_reasks` is spent; the score is their mean.

        Raises:
            EngineUnavailableError: no answer after all retries.
        """
        response = subject.response
        if response.lost:
            return Scored(response, (), None, response.lost)
        messages = rubric_messages(self._library, subject.prompt_text, response.text)
        votes: list[RubricVote] = []
        known: list[float] = []
        for attempt in range(self._judging.max_reasks + 1):
            round_seed = derive_seed(seed, "rubric", response.response_id, attempt)
            asked = await ask(self._engine, messages, self._sampling, round_seed, self._judging.votes)
            if asked.failure:
                return Scored(response, tuple(votes), None, asked.failure, asked.detail)
            for completion in asked.completions:
                text, ended = completion.text, completion.finish_reason
                score = parse_score(text, ended)
                vote = RubricVote(response.response_id, len(votes), score, text, ended, round_seed, completion.thought)
                votes.append(vote)
            known = [vote.score for vote in votes if vote.score is not None]
            if len(known) >= self._judging.quorum:
                score_of = RubricScore(
                    response.response_id, fmean(known), pvariance(known), len(known), len(votes) - len(known)
                )
                return Scored(response, tuple(votes), score_of)
        detail = f"{len(known)} of {len(votes)} votes hold a score"
        return Scored(response, tuple(votes), None, "quorum", detail)

    async def compare(self, contest: Contest, seed: int) -> Compared:
        """Compare every two of the judgements in both orders, all at once.

        Raises:
            EngineUnavailableError: no answer after all retries.
        """
        response, made = contest.response, list[MetaVote]()
        pairs = list(permutations(contest.votes, 2))
        seeds = [
            derive_seed(seed, "meta_judge", f"{response.response_id}.{first.vote_index}.{second.vote_index}")
            for first, second in pairs
        ]
        asks = [self._ask_which(contest, *pair, own) for pair, own in zip(pairs, seeds, strict=True)]
        for (first, second), own_seed, asked in zip(pairs, seeds, await ask_together(asks), strict=False):
            if asked.failure:
                return Compared(response, tuple(made), asked.failure, asked.detail)
            said, shown = asked.completions[0], (first.vote_index, second.vote_index)
            better = parse_better(said.text, said.finish_reason)
            vote = MetaVote(response.response_id, *shown, better, said.text, said.finish_reason, own_seed, said.thought)
            made.append(vote)
        return Compared(response, tuple(made))

    def _ask_which(
        self, contest: Contest, first: RubricVote, second: RubricVote, seed: int
    ) -> Coroutine[Any, Any, Asked]:
        shown = (contest.prompt_text, contest.response.text, first.text, second.text)
        return ask(self._engine, meta_judge_messages(self._library, *shown), self._sampling, seed, 1)


def comparable(votes: Sequence[RubricVote], limit: int) -> tuple[RubricVote, ...]:
    """The first `limit` judgements that hold a score and differ in their text."""
    found: dict[str, RubricVote] = {}
    for vote in votes:
        if vote.score is not None and len(found) < limit:
            found.setdefault(vote.text.strip(), vote)
    return tuple(found.values())


def score_all(
    subjects: Items[Subject], scorer: Scorer, run_seed: int, *, max_requests_in_flight: int = 4096
) -> AsyncGenerator[Scored, None]:
    """Score every response, in their order.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """

    async def score(subject: Subject) -> Scored:
        return await scorer.score(subject, run_seed)

    return bounded_map(score, subjects, limit=max_requests_in_flight, ordered=True)


def compare_all(
    contests: Items[Contest], scorer: Scorer, run_seed: int, *, max_requests_in_flight: int = 4096
) -> AsyncGenerator[Compared, None]:
    """Compare the judgements of every contest, in their order.

    Raises:
        EngineUnavailableError: no answer after all retries.
    """

    async def compare(contest: Contest) -> Compared:
        return await scorer.compare(contest, run_seed)

    return bounded_map(compare, contests, limit=max_requests_in_flight, ordered=True)
