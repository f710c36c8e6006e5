"""Many asynchronous pieces of work at once, a bounded number in flight, memory independent of how many there are."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Iterable
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Items: TypeAlias = Iterable[T] | AsyncIterable[T]


async def bounded_map(
    work: Callable[[T], Awaitable[R]], items: Items[T], *, limit: int, ordered: bool = False
) -> AsyncIterator[R]:
    """Yield `work(item)` of every item, at most `limit` started and not yet taken by the caller.

    Items are pulled only when there is room, so an endless or lazy iterable is fine.

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
        source = _pull(items)
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


async def _pull(items: Items[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they are gone; their own errors are not raised."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
