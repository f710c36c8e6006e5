"""How many constraints a synthesised prompt carries."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

_Count = Annotated[int, Field(ge=1, le=8)]


def _in_order(counts: tuple[int, int]) -> tuple[int, int]:
    fewest, most = counts
    if fewest > most:
        raise ValueError(f"the fewest come first: write [{most}, {fewest}]")
    return counts


ConstraintCounts: TypeAlias = Annotated[tuple[_Count, _Count], AfterValidator(_in_order)]
"""Fewest and most."""
