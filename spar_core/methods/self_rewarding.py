"""Self-rewarding: the highest over the lowest mean rubric score (arXiv 2401.10020)."""

from typing import ClassVar

from spar_core.config.pairs import PairsConfig
from spar_core.data.pairs import Pairs
from spar_core.data.sample_pairs import pairs_from_scores
from spar_core.methods.plugin import PairsMethod, RefinerLearning, Rows


class SelfRewarding(PairsMethod):
    """The refiner is frozen."""

    name = "self_rewarding"
    summary = "highest over lowest mean rubric score"
    reads = ("responses", "scores")
    refiner_learns_by: ClassVar[RefinerLearning | None] = None

    def pairs(self, rows: Rows, config: PairsConfig, *, run_seed: int) -> Pairs:
        """Highest over lowest."""
        return pairs_from_scores(rows.prompts, rows.responses, rows.rubric_scores, config, run_seed=run_seed)


METHOD = SelfRewarding()
