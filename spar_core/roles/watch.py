"""Stopping early: what a shard's models write is counted as it comes in, and a share that cannot be used ends it.

A weak model, a prompt set it cannot follow or too tight a token limit lose nearly everything a run asks for. That shows
in the first answers; what would have been asked after them is not.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from spar_core.errors import FruitlessError
from spar_core.records import Response, Verdict, Vote
from spar_core.roles.rewrite import EMPTY_ANSWER, NO_ANSWER, TRUNCATED

_FEWEST = 20  # fewer tell nothing
_CHANCE = 1e-3  # that a share truly at its limit is taken for one above it
_SHOWN = 160  # characters of an example
UNREADABLE = "no verdict line"
CUT = "cut by the token limit"

_THOUGHTS = "engine.thought_tokens for a model that thinks"
REMEDIES = {
    "votes": (
        f"raise method.judging.max_tokens ({_THOUGHTS}) where they are cut; else the model does not keep the judge "
        "prompt's form: choose another method.prompt_set, a warm start of the refiner (warm_start), or a stronger "
        "models.refiner"
    ),
    "rewrites": (
        f"raise method.refinement.max_tokens ({_THOUGHTS}) where they are cut; else the model does not keep the form "
        "of the refine prompt: choose another method.prompt_set, a warm start of the refiner, or a stronger "
        "models.refiner"
    ),
    "answers": f"raise method.responses.max_tokens ({_THOUGHTS}), or ask for shorter answers",
}
_LIMITS = {
    "votes": "health.max_unreadable_votes",
    "rewrites": "health.max_unusable_rewrites",
    "answers": "health.max_cut_answers",
}
_WHAT = {"votes": "votes cannot be read", "rewrites": "rewrites cannot be used", "answers": "answers are cut"}
_CAUSES = {
    TRUNCATED: CUT + " or without their end marker",
    NO_ANSWER: "without the markers of an answer",
    EMPTY_ANSWER: "empty",
}


@dataclass(slots=True)
class _Tally:
    seen: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, cause: str | None, text: str) -> None:
        self.seen += 1
        if cause is not None:
            self.lost[cause] += 1
            self.example = self.example or text


class Watch:
    """Counts what one shard's models write. `limits`: largest share that may be lost, by kind; none where left out.

    Kinds are "votes", "rewrites" and "answers". For one event loop.
    """

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits
        self._tallies = {kind: _Tally() for kind in _WHAT}

    def voted(self, votes: Iterable[Vote]) -> None:
        """Count votes.

        Raises:
            FruitlessError: more than the limit cannot be read.
        """
        for vote in votes:
            cause = CUT if vote.finish_reason == "length" else UNREADABLE
            self._tallies["votes"].add(cause if vote.verdict is Verdict.UNPARSEABLE else None, vote.critique)
        self._check("votes")

    def rewritten(self, failures: Iterable[tuple[str | None, str]]) -> None:
        """Count rewrites: (why it cannot be used, what stood there) of each.

        Raises:
            FruitlessError: more than the limit cannot be used.
        """
        for failure, text in failures:
            self._tallies["rewrites"].add(_CAUSES.get(failure, failure) if failure else None, text)
        self._check("rewrites")

    def answered(self, responses: Iterable[Response]) -> None:
        """Count the actor's answers.

        Raises:
            FruitlessError: more than the limit end at the token limit.
        """
        for response in responses:
            self._tallies["answers"].add(CUT if response.finish_reason == "length" else None, response.text[-_SHOWN:])
        self._check("answers")

    def _check(self, kind: str) -> None:
        tally, limit = self._tallies[kind], self._limits.get(kind, 1.0)
        lost = tally.lost.total()
        if tally.seen < _FEWEST or lost / tally.seen - chance(tally.seen) <= limit:
            return
        causes = ", ".join(f"{count} {cause}" for cause, count in tally.lost.most_common())
        raise FruitlessError(
            f"{lost} of the first {tally.seen} {_WHAT[kind]} ({causes}); the limit is {limit:.0%} ({_LIMITS[kind]}). "
            f"For example: {' '.join(tally.example.split())[:_SHOWN]!r}. "
            f"To go on: {REMEDIES[kind]}; then run the same command again, finished work is kept"
        )


def chance(seen: int) -> float:
    """How far a share of `seen` draws may lie above the true one by chance (Hoeffding, probability 0.001)."""
    return math.sqrt(math.log(1 / _CHANCE) / (2 * seen))
