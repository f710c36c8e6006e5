"""Which exact shares of YES votes a search needs: where votes are asked only until they decide (`search.votes_asked`).

A share that some votes are spared of lies in an interval. What the search does next is compared over all values the
intervals allow; only where it could differ are the spared votes asked after all.
"""

from collections.abc import Sequence
from typing import NamedTuple

from spar_core.records import TreeNode


class Share(NamedTuple):
    """The smallest and the greatest share that the votes spared so far can make; equal where none are."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether all votes were asked."""
        return self.low == self.high


class Uses(NamedTuple):
    """What is read of a finished tree, besides its texts and whether one was accepted.

    `accepted`: the value of the accepted node (that of a pair). `best`: which node has the highest value where none was
    accepted (`SearchResult.best`). `shares`: the values of all nodes.
    """

    accepted: bool = True
    best: bool = True
    shares: bool = True


EVERYTHING = Uses()
"""Spares no votes."""


SHOWN = Uses(accepted=True, best=True, shares=False)
"""For a search whose text is what counts: the accepted one, else the best."""


def share_of(node: TreeNode) -> Share:
    """The interval of a judged node's value; the root's is what another stage has measured."""
    if not node.votes_spared or node.parent_id is None:
        return Share(node.value or 0.0, node.value or 0.0)
    parseable = node.yes_votes + node.no_votes
    mass = round((node.value or 0.0) * parseable, 9)  # of votes that count as one or none: their whole number again
    most = parseable + node.votes_spared
    return Share(mass / most, (mass + node.votes_spared) / most)


def unsettled_choice(shares: Sequence[Share], accept_above: float, *, ranked: bool, exact_winner: bool) -> list[int]:
    """Which children's spared votes could change which child is accepted, or how the children are ranked.

    Args:
        shares: of the children judged together.
        accept_above: as `search.accept_above`.
        ranked: whether the search goes on from the best ones if none is accepted.
        exact_winner: whether the value of the accepted one is read.
    """
    surest = max((share.low for share in shares), default=0.0)
    could_win = [place for place, share in enumerate(shares) if share.high >= surest and share.high > accept_above]
    wanted = could_win
    if len(could_win) == 1 and surest > accept_above and not exact_winner:
        wanted = []
    elif not could_win and ranked and len(shares) > 1:
        wanted = list(range(len(shares)))
    return [place for place in wanted if not shares[place].exact]


def unsettled_best(shares: Sequence[Share]) -> list[int]:
    """Which nodes' spared votes could change which of them is the first with the highest value."""
    surest = max((share.low for share in shares), default=0.0)
    beaten = -1.0  # highest exact value so far, which a later node has to exceed
    could_win = []
    for place, share in enumerate(shares):
        if share.high >= surest and share.high > beaten:
            could_win.append(place)
        if share.exact:
            beaten = max(beaten, share.high)
    if len(could_win) == 1:
        return []
    return [place for place in could_win if not shares[place].exact]
