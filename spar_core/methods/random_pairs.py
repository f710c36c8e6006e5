"""Two samples in random order: the control that should teach nothing."""

from spar_core.config.pairs import PairsConfig
from spar_core.data import sample_pairs
from spar_core.data.pairs import Pairs
from spar_core.methods.plugin import PairsMethod, Rows


class RandomPairs(PairsMethod):
    """Nobody is asked which is better."""

    name = "random_pairs"
    summary = "two different samples in random order"
    reads = ("responses",)

    def pairs(self, rows: Rows, config: PairsConfig, *, run_seed: int) -> Pairs:
        """Two samples per prompt."""
        return sample_pairs.random_pairs(rows.prompts, rows.responses, config, run_seed=run_seed)


METHOD = RandomPairs()
