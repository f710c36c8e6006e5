"""One tree search as a pure generator, and the tree it returns. No engine, no clock, no concurrency."""

from dataclasses import dataclass

from spar_core.config.method import SearchConfig
from spar_core.hashing import content_id
from spar_core.records import Tree, TreeNode, Vote
from spar_core.search.asks import Asking
from spar_core.search.growth import Growth
from spar_core.search.root import Root
from spar_core.search.shares import EVERYTHING, Uses
from spar_core.search.strategies import STRATEGIES, StopReason


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search: the tree, its nodes in visit order (root first) and all votes on its children."""

    tree: Tree
    nodes: tuple[TreeNode, ...]
    votes: tuple[Vote, ...]

    @property
    def accepted(self) -> TreeNode | None:
        """The accepted node: a rewrite, or the root where the search was not needed."""
        return next((node for node in self.nodes if node.accepted), None)

    @property
    def best(self) -> TreeNode:
        """The accepted node, else the one of highest value (the earliest of equals; the root if none was judged)."""
        return self.accepted or max(self.nodes, key=lambda node: -1.0 if node.value is None else node.value)


def search_tree(
    root: Root, config: SearchConfig, run_seed: int, refiner_id: str = "", uses: Uses = EVERYTHING
) -> Asking[SearchResult]:
    """Search for a rewrite of `root` that the refiner accepts (algorithm: SPaR, section on tree search).

    Yields batches of asks and expects their answers in order. Every id and seed follows from the arguments
    and the answers, so that the result is independent of when and in what order answers come. Ids hold the
    configuration, seeds do not: searches that differ in it alone share their first rewrites.

    Args:
        root: the response to improve.
        config: strategy, limits and the named choices.
        run_seed: the run's seed.
        refiner_id: content digest of the refiner's weights; part of the tree's identity.
        uses: what is read of the tree afterwards; under `votes_asked: until_decided` only that is asked for.
    """
    # Fewer votes make no other tree.
    tree_id = content_id("tree", root.prompt_id, root.response_id, config.every_vote(), run_seed, refiner_id)
    growth = Growth(tree_id, root, config, run_seed, uses)
    reason: StopReason = "root_accepted"
    if not growth.accept_best([growth.root]):
        reason = yield from STRATEGIES[config.strategy](growth)
        if uses.best and growth.accepted is None:
            yield from growth.settle_best()
    tree = Tree(
        tree_id=tree_id,
        prompt_id=root.prompt_id,
        root_response_id=root.response_id,
        strategy=config.strategy,
        stop_reason=reason,
        nodes_expanded=len(growth.nodes) - 1,
        accepted_node_id=growth.accepted.node_id if growth.accepted else None,
        engine_seconds=0.0,
    )
    return SearchResult(tree, tuple(growth.nodes), growth.votes)
