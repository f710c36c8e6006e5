"""Trees do not depend on timing; the scheduler is lazy, bounded, and stops cleanly."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_trees import OURS, paper

from spar_core.config.method import MethodConfig, SearchConfig
from spar_core.engines.base import Completion, Generation, GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine, newest_first, oldest_first, shuffled
from spar_core.errors import EngineUnavailableError, RequestRejectedError
from spar_core.hashing import derive_seed
from spar_core.prompts import PromptLibrary
from spar_core.roles import Refiner, format_rewrite
from spar_core.search import Root, SearchResult, run_trees, scheduler

LIBRARY = PromptLibrary.load("starter")
ORDERS = [None, oldest_first, newest_first, shuffled(1), shuffled(2)]


def random_world(seed: int) -> "ScriptedEngine":
    """Answers drawn from a small alphabet, so that ties, duplicates, failures and refusals are frequent."""

    def answer(request: GenerationRequest, index: int) -> Answer:
        content = request.messages[-1].content
        draw = derive_seed(seed, content, str(request.seed), index) % 100
        if derive_seed(seed, content, str(request.seed), -1) % 29 == 0:
            return RequestRejectedError("refused", reason="refused")
        if content.startswith("Check"):
            return "so\nFinal verdict: " + ("YES" if draw < 30 else "NO" if draw < 80 else "unclear")
        if draw < 8:
            return Completion("<revised_answer>cut", "length", 2)
        if draw < 12:
            return "no answer"
        return format_rewrite("abcdefgh"[draw % 8], "why")

    return ScriptedEngine(answer)


def roots(count: int) -> Iterator[Root]:
    for i in range(count):
        value = (0.0, 0.2, 0.4, 0.8, None)[i % 5]
        yield Root(f"p{i}", f"task {i}", f"r{i}", "abc"[i % 3] * 2, "bad", value, 1, 4)


def run(
    engine: ScriptedEngine,
    count: int,
    method: MethodConfig,
    *,
    trees: int = 64,
    requests: int = 64,
    ordered: bool = False,
) -> list[SearchResult]:
    refiner = Refiner(engine, LIBRARY, method.judging, method.refinement)

    async def collect() -> list[SearchResult]:
        results = run_trees(
            roots(count),
            refiner,
            method.search,
            3,
            max_trees_in_flight=trees,
            max_requests_in_flight=requests,
            ordered=ordered,
        )
        return [replace(result, tree=replace(result.tree, engine_seconds=0.0)) async for result in results]

    return asyncio.run(collect())


def by_root(results: list[SearchResult]) -> list[SearchResult]:
    return sorted(results, key=lambda result: result.tree.root_response_id)


@settings(max_examples=25, deadline=None)
@given(
    world=st.integers(0, 10_000),
    order=st.sampled_from(ORDERS),
    trees=st.integers(1, 12),
    requests=st.integers(1, 12),
    candidates=st.integers(1, 12),
    strategy=st.sampled_from(["bfs", "dfs"]),
    published=st.booleans(),
    selection=st.sampled_from(["greedy", "proportional"]),
    budget=st.integers(1, 16),
)
def test_the_same_trees_whatever_the_timing(
    world: int,
    order: object,
    trees: int,
    requests: int,
    candidates: int,
    strategy: str,
    published: bool,
    selection: str,
    budget: int,
) -> None:
    base = paper() if published else OURS
    search = SearchConfig(
        **{**base.search.model_dump(), "strategy": strategy, "selection": selection, "node_budget": budget}
    )
    method = base.model_copy(update={"search": search})
    alone = run(random_world(world), 10, method, trees=1, requests=1)
    engine = random_world(world)
    engine = ScriptedEngine(engine._answer, order=order, max_in_flight=candidates)  # type: ignore[arg-type]
    together = run(engine, 10, method, trees=trees, requests=requests)
    assert by_root(together) == by_root(alone)
    for result in together:
        assert result.tree.nodes_expanded == len(result.nodes) - 1
        usable = sum(node.failure is None or node.failure.startswith("judge:") for node in result.nodes[1:])
        assert (usable if published else len(result.nodes) - 1) <= budget
        assert {node.visit_order: node.node_id for node in result.nodes}.keys() == set(range(len(result.nodes)))


def test_results_in_the_order_of_the_roots() -> None:
    engine = ScriptedEngine(random_world(5)._answer, order=newest_first)
    results = run(engine, 30, OURS, trees=7, ordered=True)
    assert [result.tree.root_response_id for result in results] == [f"r{i}" for i in range(30)]


def test_other_roots_change_no_tree() -> None:
    few, many = run(random_world(9), 5, OURS), run(random_world(9), 25, OURS)
    assert by_root(few) == by_root(many)[:1] + [
        r for r in by_root(many) if r.tree.root_response_id in {"r1", "r2", "r3", "r4"}
    ]


class Gauge:
    """Engine that measures how many requests it holds."""

    model_digest = "gauge"

    def __init__(self, inner: ScriptedEngine) -> None:
        self._inner = inner
        self.now = self.most = 0

    async def generate(self, request: GenerationRequest) -> Generation:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        try:
            return await self._inner.generate(request)
        finally:
            self.now -= 1

    async def close(self) -> None:
        pass


def test_requests_and_trees_in_flight_are_bounded_and_used() -> None:
    gauge = Gauge(random_world(2))
    pulled = 0

    def source() -> Iterator[Root]:
        nonlocal pulled
        for root in roots(100):
            pulled += 1
            yield root

    async def go() -> tuple[int, int]:
        taken = most_open = 0
        refiner = Refiner(gauge, LIBRARY, OURS.judging, OURS.refinement)
        async for _ in run_trees(source(), refiner, OURS.search, 0, max_trees_in_flight=20, max_requests_in_flight=7):
            taken += 1
            most_open = max(most_open, pulled - taken + 1)
        return taken, most_open

    assert asyncio.run(go()) == (100, 20)
    assert gauge.most == 7


def test_roots_may_come_from_an_asynchronous_source_that_is_slower() -> None:
    async def source() -> AsyncIterator[Root]:
        for root in roots(6):
            await asyncio.sleep(0.001)
            yield root

    async def go() -> int:
        refiner = Refiner(random_world(2), LIBRARY, OURS.judging, OURS.refinement)
        return len([r async for r in run_trees(source(), refiner, OURS.search, 0)])

    assert asyncio.run(go()) == 6


def test_an_engine_that_goes_away_cancels_the_open_trees() -> None:
    engine = ScriptedEngine(random_world(4)._answer, fail_after=40, latency_s=0.0001)

    async def go() -> set[str]:
        refiner = Refiner(engine, LIBRARY, OURS.judging, OURS.refinement)
        with pytest.raises(EngineUnavailableError):
            async for _ in run_trees(roots(50), refiner, OURS.search, 0, max_trees_in_flight=16):
                pass
        return {task.get_name() for task in asyncio.all_tasks()} - {asyncio.current_task().get_name()}  # type: ignore[union-attr]

    assert asyncio.run(go()) == set()


def test_a_caller_that_leaves_early_leaves_nothing_running() -> None:
    async def go() -> int:
        refiner = Refiner(random_world(4), LIBRARY, OURS.judging, OURS.refinement)
        results = run_trees(roots(50), refiner, OURS.search, 0, max_trees_in_flight=16)
        await anext(results)
        await results.aclose()
        return len(asyncio.all_tasks())

    assert asyncio.run(go()) == 1


def test_engine_seconds_are_the_time_with_a_request_outstanding(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(scheduler, "_clock", lambda: float(next(ticks)))
    refiner = Refiner(
        ScriptedEngine(lambda request, index: "Final verdict: NO" if request.n == 5 else format_rewrite(f"x{index}")),
        LIBRARY,
        OURS.judging,
        OURS.refinement,
    )
    config = OURS.search.model_copy(update={"max_depth": 2})

    async def go() -> SearchResult:
        trees = run_trees(roots(1), refiner, config, 0)
        return await anext(trees)

    # two batches (rewrites, votes) on the first level, of one tick each; x0..x2 come again below: not duplicates
    assert asyncio.run(go()).tree.engine_seconds == 4.0


def test_memory_does_not_grow_with_the_number_of_trees() -> None:
    refiner = Refiner(ScriptedEngine(random_world(6)._answer, log=False), LIBRARY, OURS.judging, OURS.refinement)

    async def held_after(milestones: tuple[int, ...]) -> list[int]:
        held, taken = [], 0
        tracemalloc.start()
        async for _ in run_trees(roots(milestones[-1]), refiner, OURS.search, 0, max_trees_in_flight=20):
            taken += 1
            if taken in milestones:
                gc.collect()  # what awaits collection is bounded by the collector, not by us
                held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return held

    early, late = asyncio.run(held_after((40, 380, 400)))[:2]
    assert late < 1.5 * early
