"""A chain of rewrites in place of the tree."""

from spar_core.config.method import SearchConfig
from spar_core.methods.searching import SearchingMethod


class IterativeRefine(SearchingMethod):
    """A chain, until a rewrite is accepted or the node budget is spent."""

    name = "iterative_refine"
    summary = "accepted rewrite over root, of a chain of rewrites"

    def search(self, config: SearchConfig) -> SearchConfig:
        """The same node budget for a chain."""
        return config.as_chain()


METHOD = IterativeRefine()
