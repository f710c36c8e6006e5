"""What a search would have found with a smaller budget: read off the search with the largest one.

A search asks for its nodes in an order that its node budget only cuts off: with budget b it makes the first b nodes
and stops. So one search answers for every smaller budget, with the very nodes that budget would have given, and the
budgets are compared on equal luck. (It holds where a failed expansion costs budget, `failed_expansion_costs`.)
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from spar_core.config.method import SearchConfig
from spar_core.engines.base import Engine, Generation, GenerationRequest
from spar_core.records import TreeNode
from spar_core.search.tree_search import SearchResult


class TokenLog:
    """An engine that remembers the completion tokens of every answer under the request's seed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tokens: dict[int, tuple[int, ...]] = {}

    @property
    def model_digest(self) -> str:
        """Content digest of the weights that answer."""
        return self._engine.model_digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request and note its tokens.

        Raises:
            RequestRejectedError: the engine rejects the request.
            EngineUnavailableError: no answer after all retries.
        """
        generation = await self._engine.generate(request)
        earlier = self.tokens.get(request.seed, ())[: request.first]
        self.tokens[request.seed] = (*earlier, *(done.completion_tokens for done in generation.completions))
        return generation

    async def close(self) -> None:
        """Close the wrapped engine."""
        await self._engine.close()


class Stopped(NamedTuple):
    """A search stopped by a budget: its final node (the root if nothing was better), nodes made, tokens spent."""

    final: TreeNode
    accepted: bool
    nodes: int
    tokens: int


def deep_enough(config: SearchConfig, budget: int) -> SearchConfig:
    """The same search with room for `budget` nodes: node budget and depth are raised until a full tree holds them.

    A full BFS makes `branch` nodes on its first level and `branch * beam_width` on each further one.
    """
    further = max(0, budget - config.branch)
    depth = 1 + math.ceil(further / (config.branch * config.beam_width))
    # `model_copy` would not check the bounds.
    values = {"node_budget": budget, "max_depth": max(config.max_depth, depth), "failed_expansion_costs": True}
    return SearchConfig.model_validate(config.model_dump() | values)


def node_tokens(result: SearchResult, log: Mapping[int, Sequence[int]]) -> list[int]:
    """Completion tokens of each node, its rewrite and all votes on it, in visit order; 0 for the root.

    Args:
        result: a finished search.
        log: completion tokens by seed of the request, in order of sample index.
    """
    asked: Counter[tuple[str | None, int]] = Counter()
    rounds: dict[str, set[int]] = defaultdict(set)
    for vote in result.votes:
        rounds[vote.response_id] |= vote.seeds
    spent = [0]
    for node in result.nodes[1:]:
        index = asked[node.parent_id, node.seed]
        asked[node.parent_id, node.seed] += 1
        rewrite = log.get(node.seed, ())[index : index + 1]
        votes = (sum(log.get(seed, ())) for seed in rounds[node.node_id])
        spent.append(sum(rewrite) + sum(votes))
    return spent


def stopped_at(result: SearchResult, budget: int, config: SearchConfig, tokens: Sequence[int]) -> Stopped:
    """The search as a budget of `budget` nodes would have ended it.

    Args:
        result: a search with at least this budget.
        budget: nodes allowed.
        config: of that search.
        tokens: of each node (`node_tokens`).
    """
    root, made = result.nodes[0], result.nodes[1 : budget + 1]
    # What lies above acceptance lies in the last level or expansion made: before it the search would have ended.
    passed = [node for node in made if (node.value or 0.0) > config.accept_above]
    cost = sum(tokens[: len(made) + 1])
    if passed:
        return Stopped(_ranked(root, passed, config)[0], True, len(made), cost)
    best = max(result.nodes[: len(made) + 1], key=lambda node: -1.0 if node.value is None else node.value)
    return Stopped(best, False, len(made), cost)


def _ranked(root: TreeNode, nodes: Sequence[TreeNode], config: SearchConfig) -> list[TreeNode]:
    """Best first, by the rule of the search itself (`spar_core.search.growth`)."""
    count = Counter(node.value for node in nodes)

    def key(node: TreeNode) -> tuple[float, int, int]:
        tied = config.tie_break == "closest" and count[node.value] > 1
        distance = Levenshtein.distance(root.response, node.response) if tied else 0
        return (-(node.value or 0.0), distance, node.visit_order)

    return sorted(nodes, key=key)
