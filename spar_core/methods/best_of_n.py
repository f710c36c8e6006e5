"""Pairs of independent samples: the best over the worst by the same votes."""

from spar_core.config.pairs import PairsConfig
from spar_core.data.pairs import Pairs
from spar_core.data.sample_pairs import pairs_from_samples
from spar_core.methods.plugin import PairsMethod, Rows


class BestOfN(PairsMethod):
    """The best must have passed, the worst failed."""

    name = "best_of_n"
    summary = "best over worst of the independent samples by the same votes"
    reads = ("responses", "judgements")
    follows_tokens = True

    def pairs(self, rows: Rows, config: PairsConfig, *, run_seed: int) -> Pairs:
        """Best over worst."""
        return pairs_from_samples(rows.prompts, rows.responses, rows.judgements, config, run_seed=run_seed)


METHOD = BestOfN()
