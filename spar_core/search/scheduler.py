"""Runs many tree searches over one engine: thousands of trees open, a bounded number of requests in flight."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from spar_core.config.method import SearchConfig
from spar_core.roles.in_flight import Items, bounded_map, cancel_all
from spar_core.roles.refiner import Refiner
from spar_core.search.asks import Answer, Ask, Expand
from spar_core.search.root import Root
from spar_core.search.shares import EVERYTHING, Uses
from spar_core.search.tree_search import SearchResult, search_tree

_clock = time.perf_counter


def run_trees(
    roots: Items[Root],
    refiner: Refiner,
    config: SearchConfig,
    run_seed: int,
    *,
    uses: Uses = EVERYTHING,
    max_trees_in_flight: int = 2048,
    max_requests_in_flight: int = 4096,
    ordered: bool = False,
) -> AsyncGenerator[SearchResult, None]:
    """Search every root; results as they finish, or in the order of the roots.

    Trees are the same whatever the limits, the order of completion and the other roots. `engine_seconds` of a
    tree alone is a measurement: the time in which it had a request outstanding, waiting for room included.

    Args:
        roots: pulled lazily, when a tree's place is free.
        refiner: asked for rewrites and votes.
        config: the search's choices.
        run_seed: the run's seed.
        uses: what is read of the trees afterwards; it counts under `votes_asked: until_decided`.
        max_trees_in_flight: trees open at once; memory grows with it, not with the number of roots.
        max_requests_in_flight: requests awaiting the engine at once, over all trees.
        ordered: yield in the order of the roots.

    Raises:
        EngineUnavailableError: no answer after all retries; open trees are cancelled.
    """
    room = asyncio.Semaphore(max_requests_in_flight)

    async def answer(ask: Ask) -> Answer:
        async with room:
            if isinstance(ask, Expand):
                return tuple(await refiner.refine(ask.prompt, ask.response, ask.critique, ask.seed, ask.wanted))
            return await refiner.judge(
                ask.node_id,
                ask.prompt,
                ask.response,
                ask.seed,
                seed_id=ask.place,
                max_reasks=config.max_reasks,
                wanted=ask.wanted,
            )

    async def run(root: Root) -> SearchResult:
        search = search_tree(root, config, run_seed, refiner.model_digest, uses)
        outstanding = 0.0
        try:
            asks = next(search)
            while True:
                asked_at = _clock()
                answers = tuple(await _all(answer, asks))
                outstanding += _clock() - asked_at
                asks = search.send(answers)
        except StopIteration as finished:
            result: SearchResult = finished.value
        return replace(result, tree=replace(result.tree, engine_seconds=outstanding))

    return bounded_map(run, roots, limit=max_trees_in_flight, ordered=ordered)


async def _all(answer: Callable[[Ask], Coroutine[Any, Any, Answer]], asks: Sequence[Ask]) -> list[Answer]:
    """All answers, in order; the first failure cancels the others and is raised as it is."""
    if len(asks) == 1:
        return [await answer(asks[0])]
    tasks = [asyncio.ensure_future(answer(ask)) for ask in asks]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        await cancel_all(tasks)
        raise
