"""Search strategies: each grows a tree until it can say why it stopped."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from spar_core.search.asks import Asking
from spar_core.search.growth import Growth

StopReason = Literal["accepted", "root_accepted", "depth", "budget", "exhausted", "refiner_unavailable"]
"""accepted: a child was accepted. root_accepted: the root needs no search. depth: the depth limit was reached.
budget: an expansion was cut off by the node budget. exhausted: no judged child was left to go on from.
refiner_unavailable: likewise, because the engine refused every request of the last expansion."""

Strategy: TypeAlias = Callable[[Growth], Asking[StopReason]]


def breadth_first(growth: Growth) -> Asking[StopReason]:
    """Level by level: expand the whole beam, judge all children, accept the best or keep the best as the beam."""
    beam = [growth.root]
    for _ in range(growth.config.max_depth):
        children = growth.ranked((yield from growth.expand(beam)))
        if growth.accept_best(children):
            return "accepted"
        if growth.out_of_budget:
            return "budget"
        if not children:
            return _dead_end(growth)
        beam = growth.select(children)
    return "depth"


def depth_first(growth: Growth) -> Asking[StopReason]:
    """Expand one node, judge its children, accept the best or descend into the best ones, in order of value."""
    waiting = [growth.root]
    depth_reached = False
    while waiting:
        node = waiting.pop()
        if node.depth == growth.config.max_depth:
            depth_reached = True
            continue
        children = growth.ranked((yield from growth.expand([node])))
        if growth.accept_best(children):
            return "accepted"
        if growth.out_of_budget:
            return "budget"
        waiting.extend(reversed(growth.select(children)))
    return "depth" if depth_reached else _dead_end(growth)


def chain(growth: Growth) -> Asking[StopReason]:
    """Rewrite, and rewrite the rewrite, until one is accepted or the node budget is spent.

    A child that cannot be gone on from (duplicate, failed expansion, no majority) is asked for again from its parent.
    Every rewrite asked counts, also under `failed_expansion_costs: false`: a chain of failures must end.
    """
    parent = growth.root
    for _ in range(growth.config.node_budget):
        children = yield from growth.expand([parent], rewrites=1)
        if growth.accept_best(children):
            return "accepted"
        if growth.refused:
            return "refiner_unavailable"  # it would refuse the same request again
        parent = children[0] if children else parent
    return "budget"


def _dead_end(growth: Growth) -> StopReason:
    return "refiner_unavailable" if growth.refused else "exhausted"


STRATEGIES: Mapping[str, Strategy] = MappingProxyType({"bfs": breadth_first, "dfs": depth_first, "chain": chain})
