"""Prompts that follow the model: what the share of answers that pass decides."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from spar_core.config.base import FrozenConfig

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class FollowingConfig(FrozenConfig):
    """Which prompts make trees, and what later prompts ask for, by the share of a prompt's judged answers
    that pass. The judgements that are made anyway decide, whoever makes them: votes, or the anchor where there is one.
    Constraints and kinds follow with `prompts.source: verifiable`, and with `starter` where it is told constraints.
    """

    pass_above: _Share | None = 0.0
    """A prompt makes a tree only where more of its answers pass than this: by default, where some do. Null: no matter
    how few."""
    pass_at_most: _Share = 0.6
    """A prompt makes a tree only where at most so many of its answers pass."""
    harder_from: _Share = 0.6
    """Share of an iteration's answers from which the next one's prompts carry one constraint more."""
    easier_below: _Share = 0.1
    """Share of an iteration's answers below which they carry one constraint fewer."""
    most_constraints: Annotated[int, Field(ge=1, le=8)] = 6
    """Most constraints that a prompt comes to carry."""
    weigh_kinds: bool = True
    """Draw kinds of constraints more often whose prompts pass now and then (most at one half), and those
    that always or never pass a fifth as often."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.pass_above is not None and self.pass_above >= self.pass_at_most:
            raise ValueError(
                f"no share lies above pass_above={self.pass_above} and is at most pass_at_most={self.pass_at_most}"
            )
        if self.easier_below >= self.harder_from:
            raise ValueError(f"easier_below={self.easier_below} must be less than harder_from={self.harder_from}")
        return self
