"""Many asynchronous pieces of work at once, a bounded number in flight, memory independent of how many there are."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Items: TypeAlias = Iterable[T] | AsyncIterable[T]


async def bounded_map(
    work: Callable[[T], Awaitable[R]], items: Items[T], *, limit: int, ordered: bool = False
) -> AsyncGenerator[R, None]:
    """Yield `work(item)` of every item, at most `limit` started and not yet taken by the caller.

    Items are pulled only when there is room, so an endless or lazy iterable is fine. A caller that may stop early
    closes the generator (`contextlib.aclosing`), which cancels what is running.

    Args:
        work: what to do with an item.
        items: pulled lazily; a plain iterable is advanced on the event loop's thread.
        limit: items in flight, finished results the caller has not taken included.
        ordered: yield in the order of the items (a slow item holds back at most `limit` others).

    Raises:
        Whatever `work` or the iterable raises; the rest is cancelled first.
    """
    # `ready` brings tasks to the caller: finished ones, or when ordered all of them as they start, and at last the
    # feeder itself. The feeder runs beside the caller, so that a slow source does not hold finished results back.
    ready: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
    room = asyncio.Semaphore(limit)
    running: set[asyncio.Task[Any]] = set()

    async def feed() -> None:
        async with aclosing(_pull(items)) as source:
            await room.acquire()
            async for item in source:
                task = asyncio.ensure_future(_call(work, item))
                running.add(task)
                if ordered:
                    ready.put_nowait(task)
                else:
                    task.add_done_callback(ready.put_nowait)
                await room.acquire()

    feeder = asyncio.ensure_future(feed())
    feeder.add_done_callback(ready.put_nowait)
    try:
        while running or not feeder.done():
            task = await ready.get()
            result = await task
            if task is feeder:
                continue
            running.discard(task)
            room.release()
            yield result
        feeder.result()
    finally:
        await cancel_all({*running, feeder})


async def _call(work: Callable[[T], Awaitable[R]], item: T) -> R:
    return await work(item)


async def _pull(items: Items[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncGenerator):
        async with aclosing(items) as generator:
            async for item in generator:
                yield item
    elif isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def all_results(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of `work`, run at once, return, in their order.

    Raises:
        Whatever one of them raises first; the rest is cancelled.
    """
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await cancel_all([task for task in tasks if not task.done()])


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they are gone; their own errors are not raised."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
