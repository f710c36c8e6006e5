"""What a run shows of itself elsewhere than in its tables. It changes no result."""

from typing import Annotated

from pydantic import Field

from spar_core.config.base import FrozenConfig


class TrackingConfig(FrozenConfig):
    """What MLflow is told beside figures and models."""

    traces: Annotated[int, Field(ge=0, le=1000)] = 12
    """Search trees of each iteration that MLflow shows as traces: half with an accepted rewrite, half without, the
    largest first. `spar view` shows every tree."""
