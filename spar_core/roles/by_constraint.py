"""Votes of a prompt set with `judge: per_constraint`: what was said of the task and of each constraint, as one vote."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from spar_core.prompts.format import VerdictForm
from spar_core.records import ConstraintVote, Verdict, Vote
from spar_core.roles.verdict import without_verdict


def together(parts: Iterable[tuple[str, Sequence[Vote]]], form: VerdictForm, first: int) -> list[Vote]:
    """One vote of each place: YES where all is met, NO where something is not, else unparseable.

    Its probability of YES is that of what is least likely met. Its critique says of what is met, or of what is not;
    where it cannot be read, of everything.

    Args:
        parts: what was asked about, and the votes on that; equally many for each of one voter's.
        form: how a verdict line reads.
        first: index of the first vote.
    """
    votes: list[Vote] = []
    for _, own in groupby(parts, key=lambda part: part[1][0].voter):
        said = list(own)
        for place in range(len(said[0][1])):
            vote = _together([(constraint, given[place]) for constraint, given in said], form)
            votes.append(replace(vote, vote_index=first + len(votes)))
    return votes


def _together(said: Sequence[tuple[str, Vote]], form: VerdictForm) -> Vote:
    votes = [vote for _, vote in said]
    verdicts = {vote.verdict for vote in votes}
    verdict = next(one for one in (Verdict.NO, Verdict.UNPARSEABLE, Verdict.YES) if one in verdicts)
    likely = [vote.yes_probability for vote in votes if vote.verdict is not Verdict.UNPARSEABLE]
    known = [probability for probability in likely if probability is not None]
    cut = any(vote.finish_reason == "length" for vote in votes)
    return replace(
        votes[0],
        verdict=verdict,
        critique=_critique(said, verdict, form),
        finish_reason="length" if cut else "stop",
        thought="",
        yes_probability=min(known) if known and len(known) == len(likely) else None,
        completion_tokens=sum(vote.completion_tokens or 0 for vote in votes),
        prompt_tokens=sum(vote.prompt_tokens or 0 for vote in votes),
        by_constraint=tuple(_part(constraint, vote) for constraint, vote in said),
    )


def _part(constraint: str, vote: Vote) -> ConstraintVote:
    told = (vote.verdict, vote.critique, vote.finish_reason, vote.seed, vote.thought, vote.yes_probability)
    return ConstraintVote(constraint, *told)


def _critique(said: Sequence[tuple[str, Vote]], verdict: Verdict, form: VerdictForm) -> str:
    label = {Verdict.YES: "Met", Verdict.NO: "Not met", Verdict.UNPARSEABLE: "Asked about"}[verdict]
    of = [
        f"{label}: {constraint}\n{without_verdict(vote.critique, form)}".strip()
        for constraint, vote in said
        if verdict is Verdict.UNPARSEABLE or vote.verdict is verdict
    ]
    if verdict is not Verdict.UNPARSEABLE:
        of.append(form.line(passes=verdict is Verdict.YES))
    return "\n\n".join(of)
