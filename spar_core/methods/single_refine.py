"""One rewrite in place of the tree."""

from spar_core.config.method import SearchConfig
from spar_core.methods.searching import SearchingMethod


class SingleRefine(SearchingMethod):
    """A search of one node."""

    name = "single_refine"
    summary = "accepted rewrite over root, of a search of one rewrite"

    def search(self, config: SearchConfig) -> SearchConfig:
        """One rewrite."""
        return config.one_rewrite()


METHOD = SingleRefine()
