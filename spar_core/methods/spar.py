"""SPaR: the accepted rewrite of a tree search over the failing answer it came from (arXiv 2412.11605)."""

from spar_core.methods.searching import SearchingMethod


class Spar(SearchingMethod):
    """The tree search as configured."""

    name = "spar"
    summary = "accepted rewrite of the tree search over its root"


METHOD = Spar()
