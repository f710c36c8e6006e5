"""Tree search over rewrites: a pure search, and a scheduler that runs thousands of them over one engine."""

from spar_core.search.root import Root
from spar_core.search.scheduler import run_trees
from spar_core.search.strategies import STRATEGIES, StopReason
from spar_core.search.tree_search import SearchResult, search_tree

__all__ = ["STRATEGIES", "Root", "SearchResult", "StopReason", "run_trees", "search_tree"]
