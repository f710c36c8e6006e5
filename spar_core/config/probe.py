"""Whether a model keeps the forms it is asked for: asked before a run that teaches it none."""

from typing import Annotated

from pydantic import Field

from spar_core.config.base import FrozenConfig
from spar_core.config.method import Fraction, TokenCount


class ProbeConfig(FrozenConfig):
    """A few real requests to each role before a run (`spar probe`); found again in the home, and no result is changed.

    A run with a warm start, which teaches the form, is not probed, nor one that searches no trees.
    """

    minimum_readable: Fraction | None = 0.2
    """Share of votes that must be readable, and of rewrites that must be usable, for a run to begin; null: not
    probed. Of 20 votes, a model at the limit of `health` (half unreadable) falls below 0.2 in 1 of 776 probes."""
    requests: Annotated[int, Field(ge=5, le=1000)] = 20
    """Requests per role."""
    max_tokens: TokenCount = 256
    """Most new tokens of each, where the method's own limit is not lower. A text that only this limit cuts says nothing
    and is left out of the share."""
