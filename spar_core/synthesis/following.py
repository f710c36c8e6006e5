"""How the next iteration's prompts are drawn, by what the model made of this one's."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Self

from spar_core.config.following import FollowingConfig
from spar_core.data.pass_rates import PassRate
from spar_core.records import Prompt

_RARELY: Final = 0.2
"""Weight of a kind that always or never passes; one that passes half of the time has 1."""


class Drawing(NamedTuple):
    """`counts`: fewest and most constraints of a prompt. `weights`: of kinds, by id; a kind without one has 1."""

    counts: tuple[int, int]
    weights: Mapping[str, float] = {}

    def plain(self) -> dict[str, Any]:
        """JSON values, part of a stage's key."""
        return {"counts": list(self.counts), "weights": {kind: self.weights[kind] for kind in sorted(self.weights)}}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """From such values."""
        fewest, most = plain["counts"]
        return cls((fewest, most), plain["weights"])


def next_drawing(
    drawing: Drawing, prompts: Iterable[Prompt], rates: Mapping[str, PassRate], following: FollowingConfig
) -> Drawing:
    """The drawing after one whose prompts passed as `rates` says; the same where no prompt was judged.

    A kind's share is that of the prompts that carry it, whatever else they carry: which of an answer's constraints
    failed is not asked, since only a checker would know.
    """
    seen = [(prompt, rates[prompt.prompt_id]) for prompt in prompts if prompt.prompt_id in rates]
    judged = sum(rate.judged for _, rate in seen)
    if not judged:
        return drawing
    share = sum(rate.passed for _, rate in seen) / judged
    counts = _stepped(drawing.counts, share, following)
    return Drawing(counts, _weights(seen) if following.weigh_kinds else {})


def _stepped(counts: tuple[int, int], share: float, following: FollowingConfig) -> tuple[int, int]:
    fewest, most = counts
    if share >= following.harder_from:
        raised = max(most, min(most + 1, following.most_constraints))
        return min(fewest + 1, raised), raised
    if share < following.easier_below:
        return max(1, fewest - 1), max(1, most - 1)
    return counts


def _weights(seen: Iterable[tuple[Prompt, PassRate]]) -> dict[str, float]:
    passed: dict[str, int] = defaultdict(int)
    judged: dict[str, int] = defaultdict(int)
    for prompt, rate in seen:
        for kind in {constraint.kind for constraint in prompt.constraints}:
            passed[kind] += rate.passed
            judged[kind] += rate.judged
    shares = {kind: passed[kind] / judged[kind] for kind in judged}
    return {kind: round(_RARELY + (1 - _RARELY) * 4 * share * (1 - share), 4) for kind, share in shares.items()}
