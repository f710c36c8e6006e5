"""Tally rules: when votes make a judgement (JudgingConfig; method: five votes, majority decides)."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from spar_core.config.method import JudgingConfig
from spar_core.prompts.format import VerdictForm
from spar_core.records import Judgement, Verdict, Vote
from spar_core.roles.anchor import Checked

NoMajority = Literal["quorum", "tie"]
_EVEN = 0.5
_ROUNDING = 1e-9  # of sums of probabilities; nothing where votes count as one or none


class Tally(NamedTuple):
    """Counts of one response's votes, and the sum of the readable ones' probabilities of YES (1 or 0 where hard)."""

    yes: int
    no: int
    unparseable: int
    yes_mass: float

    @property
    def parseable(self) -> int:
        """Votes that said YES or NO."""
        return self.yes + self.no

    @property
    def value(self) -> float:
        """What the votes say on average, in [0, 1]; above one half is YES. Needs a parseable vote."""
        return self.yes_mass / self.parseable


def tally(votes: Sequence[Vote], config: JudgingConfig | None = None) -> Tally:
    """Count the verdicts, over all rounds; with `judging.soft_votes` each weighs as its probability says."""
    yes = sum(vote.verdict is Verdict.YES for vote in votes)
    no = sum(vote.verdict is Verdict.NO for vote in votes)
    soft = [
        vote.yes_probability - (vote.verdict is Verdict.YES)
        for vote in votes
        if config is not None and config.soft_votes
        if vote.verdict is not Verdict.UNPARSEABLE and vote.yes_probability is not None
    ]
    return Tally(yes, no, len(votes) - yes - no, yes + math.fsum(soft))


def undecided(counts: Tally, config: JudgingConfig) -> NoMajority | None:
    """Why these votes make no judgement; None where they do."""
    if counts.parseable < config.quorum:
        return "quorum"
    return "tie" if counts.value == _EVEN else None


def certain(counts: Tally, left: int, config: JudgingConfig) -> Verdict | None:
    """The majority that `left` further votes can't change, whatever they say; None while they can, or can lose it."""
    if counts.parseable < config.quorum:
        return None
    low, high = span(counts, left)
    if low > _EVEN + _ROUNDING:
        return Verdict.YES
    return Verdict.NO if high < _EVEN - _ROUNDING else None


def span(counts: Tally, left: int) -> tuple[float, float]:
    """The smallest and the greatest share of YES that `left` further votes can make of these. Needs a parseable one.

    A further vote that cannot be read leaves the share as it is, which lies between the two.
    """
    most = counts.parseable + left
    return counts.yes_mass / most, (counts.yes_mass + left) / most


def worth_asking_again(reason: NoMajority, config: JudgingConfig) -> bool:
    """Whether another round may decide: a missing quorum always, a tie unless the configuration drops it."""
    return reason == "quorum" or config.tie != "drop"


def judgement(response_id: str, votes: Sequence[Vote], config: JudgingConfig | None = None) -> Judgement:
    """The majority's judgement, with the critique of the first vote that agrees with it. Needs a majority.

    The mean of soft votes lies on the side of at least one of them, so there always is such a critique.
    """
    counts = tally(votes, config)
    verdict = Verdict.YES if counts.value > _EVEN else Verdict.NO
    agreeing = next(vote for vote in votes if vote.verdict is verdict)
    told = (counts.yes, counts.no, counts.unparseable, counts.value, agreeing.critique)
    return Judgement(response_id, verdict, *told, by_constraint=agreeing.by_constraint)


def by_rule(response_id: str, checked: Checked, form: VerdictForm) -> Judgement:
    """The checker's judgement where no vote was asked: value 1 or 0, in the checker's words."""
    verdict = Verdict.NO if checked.failed else Verdict.YES
    value = float(verdict is Verdict.YES)
    return Judgement(response_id, verdict, 0, 0, 0, value, checked.critique(form), "rule")


def anchored(
    response_id: str, votes: Sequence[Vote], checked: Checked, verdict: Verdict, form: VerdictForm
) -> Judgement:
    """The checker's judgement: value 1 or 0 whatever the votes say, which stay recorded.

    The critique is that of the first vote that agrees with the checker, else the checker's own text in that form.
    """
    counts = tally(votes)
    agreeing = next((vote for vote in votes if vote.verdict is verdict), None)
    return Judgement(
        response_id,
        verdict,
        counts.yes,
        counts.no,
        counts.unparseable,
        float(verdict is Verdict.YES),
        checked.critique(form) if agreeing is None else agreeing.critique,
        "verdict_and_critique" if agreeing is None else "verdict",
        by_constraint=() if agreeing is None else agreeing.by_constraint,
    )
