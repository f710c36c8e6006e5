"""What the methods that search share: the accepted rewrite of a tree over its root."""

from typing import ClassVar

from spar_core.config.pairs import PairsConfig
from spar_core.data.pairs import Pairs, pairs_from_trees
from spar_core.methods.plugin import PairsMethod, Product, Rows


class SearchingMethod(PairsMethod):
    """Pairs from trees."""

    reads: ClassVar[tuple[Product, ...]] = ("trees",)
    piecewise: ClassVar[bool] = True

    def pairs(self, rows: Rows, config: PairsConfig, *, run_seed: int) -> Pairs:
        """Accepted rewrite over root."""
        return pairs_from_trees(rows.prompts, rows.trees, rows.tree_nodes, config, run_seed=run_seed)
