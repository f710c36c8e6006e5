"""What a search asks and is told. A search is a generator: it yields a batch of asks, is sent the answers in order."""

from collections.abc import Generator
from typing import NamedTuple, TypeAlias, TypeVar

from spar_core.roles.ballot import EVERY_VOTE, Wanted
from spar_core.roles.refiner import JudgementOutcome, Rewrite


class Expand(NamedTuple):
    """Rewrite one node's response `wanted` times. Answer: that many rewrites, in order of sample index.

    `offset` counts the rewrites asked of this node before; `seed` is derived from it.
    """

    node_id: str
    prompt: str
    response: str
    critique: str
    offset: int
    seed: int
    wanted: int


class Judge(NamedTuple):
    """Judge one child. `seed` is the run's: the votes' seeds are derived from it and the node's place.

    `wanted`: as `Refiner.judge` takes it.
    """

    node_id: str
    place: str
    prompt: str
    response: str
    seed: int
    wanted: Wanted = EVERY_VOTE


Ask: TypeAlias = Expand | Judge
Answer: TypeAlias = tuple[Rewrite, ...] | JudgementOutcome

R = TypeVar("R")
Asking: TypeAlias = Generator[tuple[Ask, ...], tuple[Answer, ...], R]
"""A computation that asks batches on its way to an `R`. A batch holds asks of one kind, never none."""


def ask_rewrites(asks: tuple[Expand, ...]) -> Asking[list[tuple[Rewrite, ...]]]:
    """Ask for rewrites; one tuple per ask."""
    answers = yield asks
    return [answer for answer in answers if not isinstance(answer, JudgementOutcome)]


def ask_judgements(asks: tuple[Judge, ...]) -> Asking[list[JudgementOutcome]]:
    """Ask for judgements; one outcome per ask."""
    answers = yield asks
    return [answer for answer in answers if isinstance(answer, JudgementOutcome)]
