"""What a run may spend: limits at which it stops cleanly, to go on with higher ones. They change no result."""

from typing import Annotated

from pydantic import Field

from spar_core.config.base import FrozenConfig


class BudgetConfig(FrozenConfig):
    """Limits over all starts of a run together; at one of them it stops, and what is finished is kept."""

    tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens that models may read and write, measurements included; answers found in the home cost nothing. Null: no
    limit. What is under way at the limit is finished first: a run ends a little above it."""
    hours: Annotated[float, Field(gt=0.0)] | None = None
    """Hours that the run may take. Null: no limit. A training stops at its last checkpoint and goes on from there."""
    price_per_gpu_hour: Annotated[float, Field(ge=0.0)] | None = None
    """What an hour of one GPU costs, in any currency: `spar plan`, `spar run` and `spar status` then show prices."""
