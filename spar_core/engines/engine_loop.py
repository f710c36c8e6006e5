"""The one event loop of this process on which the clients of HTTP engines live, whoever calls them.

Stages run many event loops, at once and one after another; connections, limits and back-off are shared by all of them,
and nothing of an engine belongs to a loop that ends.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_STOP_S = 2.0


class _EngineLoop:
    """An event loop that runs in a thread of its own until the process ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _stop(self) -> None:
        self.abandon()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_STOP_S)

    def abandon(self) -> None:
        """Let connections that nobody closed end with the process, without a word."""
        atexit.unregister(self._stop)
        self.loop.set_exception_handler(lambda loop, context: None)


_lock = threading.Lock()
_running: _EngineLoop | None = None


def engine_loop() -> asyncio.AbstractEventLoop:
    """The loop, started by the first call."""
    global _running
    with _lock:
        if _running is None:
            _running = _EngineLoop()
        return _running.loop


async def on_engine_loop(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises, run on the engine loop; cancelling the caller cancels it there.

    Callable from any event loop of any thread.
    """
    loop = engine_loop()
    if asyncio.get_running_loop() is loop:
        return await work
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


def _forget() -> None:
    """A forked child has no such thread: it starts a loop of its own when it needs one."""
    global _running, _lock
    if _running is not None:
        _running.abandon()
    _running, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
