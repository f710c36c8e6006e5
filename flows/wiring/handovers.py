"""What the parts of an iteration hand to one another."""

from typing import NamedTuple

from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef


class Models(NamedTuple):
    """The two models an iteration starts from or ends with."""

    actor: ModelRef
    refiner: ModelRef

    def of(self, role: ModelRole) -> ModelRef:
        """One of them."""
        return self.actor if role == "actor" else self.refiner


class Data(NamedTuple):
    """What one iteration made."""

    prompts: ArtifactRef
    pairs: ArtifactRef | None
    """What the actor learns from by DPO; null where it learns from rewards for its own answers to the prompts."""
    refiner: ArtifactRef | None
    """What the refiner learns from: examples (RFT) or pairs of judgements (DPO); null where it is frozen."""
    trees: ArtifactRef | None = None
    """The searches; null under methods that make none."""
