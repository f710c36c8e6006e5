"""Which of several servers takes the next request: the one with the fewest in flight that is not down."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server address and how it fares. `down_until` is on the monotonic clock, in seconds."""

    url: str
    in_flight: int = 0
    down_until: float = 0.0

    @property
    def is_down(self) -> bool:
        """Whether a recent failure keeps requests away."""
        return time.monotonic() < self.down_until


class EndpointRouter:
    """Routes the requests of one event loop.

    Args:
        urls: of the servers.
        max_concurrency: requests in flight per server.
    """

    def __init__(self, urls: Sequence[str], max_concurrency: int) -> None:
        self.endpoints = [Endpoint(url) for url in urls]
        self._limit = max_concurrency
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def endpoint(self, avoid: Endpoint | None = None) -> AsyncIterator[Endpoint]:
        """Hold a place at a server, waiting while all are full; `avoid` is taken only if no other is up."""
        chosen = self._choose(avoid)
        while chosen is None:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
            chosen = self._choose(avoid)
        chosen.in_flight += 1
        try:
            yield chosen
        finally:
            chosen.in_flight -= 1
            self._wake_next()

    def other_is_up(self, than: Endpoint) -> bool:
        """Whether a request that failed at one server has another to go to at once."""
        return any(endpoint is not than and not endpoint.is_down for endpoint in self.endpoints)

    def _choose(self, avoid: Endpoint | None) -> Endpoint | None:
        usable = [endpoint for endpoint in self.endpoints if not endpoint.is_down] or self.endpoints
        usable = [endpoint for endpoint in usable if endpoint is not avoid] or usable
        best = min(usable, key=lambda endpoint: endpoint.in_flight)
        return best if best.in_flight < self._limit else None

    def _wake_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
