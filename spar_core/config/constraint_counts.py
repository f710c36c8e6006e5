"""How many constraints a synthesised prompt carries, and of which kinds."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from spar_core.constraints.splits import TRAIN_KINDS

_Count = Annotated[int, Field(ge=1, le=8)]


def _in_order(counts: tuple[int, int]) -> tuple[int, int]:
    fewest, most = counts
    if fewest > most:
        raise ValueError(f"the fewest come first: write [{most}, {fewest}]")
    return counts


ConstraintCounts: TypeAlias = Annotated[tuple[_Count, _Count], AfterValidator(_in_order)]
"""Fewest and most."""


def _trained(kinds: tuple[str, ...]) -> tuple[str, ...]:
    unknown, known = sorted(set(kinds) - set(TRAIN_KINDS)), ", ".join(TRAIN_KINDS)
    if unknown:
        raise ValueError(f"no kind that training prompts have: {', '.join(unknown)}; these are {known}")
    return kinds


ConstraintKinds: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_trained)]
"""Ids of the registry that training prompts may have; none of those held out."""
