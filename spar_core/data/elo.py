"""Strengths from weighted comparisons: Elo by maximum likelihood, as Meta-Rewarding ranks judgements.

arXiv 2407.19594. What it leaves open is ours: every two that were compared count as having drawn a little besides, so
that one that lost every comparison has a strength, too.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

_DRAWN = 0.1  # of a win, for either side of every two that were compared
_ROUNDS = 200
_SETTLED = 1e-9


class Win(NamedTuple):
    """One comparison, by the indices of the two; `weight`: what it counts."""

    winner: int
    loser: int
    weight: float


def elo(wins: Iterable[Win]) -> dict[int, float]:
    """The strength of everything that was compared: the natural logarithm of its odds, 0 on average.

    Strengths maximise the likelihood of the wins, where one of strength a beats one of strength b with probability
    1 / (1 + exp(b - a)) (Bradley-Terry), found by minorisation and maximisation.
    """
    won: dict[int, dict[int, float]] = {}
    for win in wins:
        if win.weight > 0.0:
            for one, other, weight in ((win.winner, win.loser, win.weight), (win.loser, win.winner, 0.0)):
                against = won.setdefault(one, {})
                against[other] = against.get(other, _DRAWN) + weight
    strengths = dict.fromkeys(won, 1.0)
    for _ in range(_ROUNDS):
        moved = 0.0
        for one, against in won.items():
            fought = sum(
                (weight + won[other][one]) / (strengths[one] + strengths[other]) for other, weight in against.items()
            )
            better = sum(against.values()) / fought
            moved = max(moved, abs(math.log(better / strengths[one])))
            strengths[one] = better
        if moved < _SETTLED:
            break
    logs = {one: math.log(strength) for one, strength in strengths.items()}
    mean = sum(logs.values()) / len(logs) if logs else 0.0
    return {one: value - mean for one, value in logs.items()}
