"""The votes on one text: which requests a round of them consists of, and what to ask of each for a part of it."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from spar_core.records import Message, Verdict, Vote


class Wanted(NamedTuple):
    """Which votes of a round are wanted.

    `spare`: majorities whose exact share nobody needs: once one of them is certain, no more votes are asked. `begun`:
    votes that were asked before, with `spare`; the round goes on after them.
    """

    spare: frozenset[Verdict] = frozenset()
    begun: tuple[Vote, ...] = ()


EVERY_VOTE: Final = Wanted()
A_MAJORITY: Final = Wanted(frozenset({Verdict.YES, Verdict.NO}))
A_NO_IN_FULL: Final = Wanted(frozenset({Verdict.YES}))
"""For an answer that a search starts from where it fails: rewrites are compared with its share."""


class VoteRequest(NamedTuple):
    """What one voter is asked under one wording, or of one `constraint`; `purpose` tells its seeds from the others'.

    `about` is the prompt's text, which all requests about it share.
    """

    voter: int
    wording: int
    purpose: str
    messages: tuple[Message, ...]
    wanted: int
    about: str
    constraint: str = ""


class Part(NamedTuple):
    """`wanted` votes of one request, from its vote number `first` on."""

    request: VoteRequest
    first: int
    wanted: int


class Ballot(NamedTuple):
    """The votes on one text so far, and the requests that a round of them consists of."""

    subject_id: str
    requests: Sequence[VoteRequest]
    votes: list[Vote]

    def parts(self, first: int, last: int) -> list[Part]:
        """What to ask of each request for the votes number `first` to `last - 1` of a round.

        A vote that is asked per constraint is one answer to each of the requests of its voter.
        """
        parts, before = list[Part](), 0
        for _, requests in groupby(self.requests, key=lambda request: (request.voter, request.wording)):
            same = list(requests)
            start, end = max(first, before), min(last, before + same[0].wanted)
            if start < end:
                parts += (Part(request, start - before, end - start) for request in same)
            before += same[0].wanted
        return parts
