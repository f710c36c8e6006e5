import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from spar_core.roles.in_flight import all_results, bounded_map


async def collect(results: AsyncIterator[int]) -> list[int]:
    return [result async for result in results]


async def countdown(item: int) -> int:
    for _ in range(10 - item):  # later items finish sooner
        await asyncio.sleep(0)
    return item


def test_as_they_finish_or_in_order() -> None:
    assert asyncio.run(collect(bounded_map(countdown, range(5), limit=5))) == [4, 3, 2, 1, 0]
    assert asyncio.run(collect(bounded_map(countdown, range(5), limit=5, ordered=True))) == [0, 1, 2, 3, 4]
    assert asyncio.run(collect(bounded_map(countdown, [], limit=5))) == []


@pytest.mark.parametrize("ordered", [False, True])
def test_items_are_pulled_only_when_there_is_room(ordered: bool) -> None:
    pulled: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            pulled.append(len(pulled))
            yield pulled[-1]

    async def go() -> None:
        results = bounded_map(countdown, endless(), limit=3, ordered=ordered)
        for taken in range(1, 6):
            await anext(results)
            assert len(pulled) <= taken + 3
        await results.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(go())


@pytest.mark.parametrize("ordered", [False, True])
def test_a_failure_in_work_or_source_cancels_the_rest(ordered: bool) -> None:
    async def fails(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        await asyncio.sleep(3600 if item > 2 else 0)
        return item

    def broken() -> Iterator[int]:
        yield 0
        raise OSError("source")

    async def go() -> None:
        with pytest.raises(ValueError, match="item 2"):
            await collect(bounded_map(fails, range(6), limit=6, ordered=ordered))
        with pytest.raises(OSError, match="source"):
            await collect(bounded_map(countdown, broken(), limit=6, ordered=ordered))
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(go())


def test_a_slow_source_does_not_hold_results_back() -> None:
    async def go() -> None:
        released = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 9
            await released.wait()
            yield 8

        results = bounded_map(countdown, source(), limit=4)
        assert await asyncio.wait_for(anext(results), 5) == 9
        released.set()
        assert await collect(results) == [8]

    asyncio.run(go())


def test_results_of_work_at_once_come_in_order_and_a_failure_cancels_the_rest() -> None:
    cancelled: list[int] = []

    async def fails_at_three(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    assert asyncio.run(all_results([countdown(item) for item in range(5)])) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="three"):
        asyncio.run(all_results([fails_at_three(item) for item in (1, 2, 3)]))
    assert cancelled == [1, 2]
