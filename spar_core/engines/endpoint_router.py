"""Which of several servers takes the next request: the one with the fewest in flight of those that have room."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from spar_core.engines.throttle import Throttle, Ticket
from spar_core.errors import EngineError

_NONE: frozenset["Endpoint"] = frozenset()


class Endpoint:
    """One server address and how it fares. `down_until` is on the event loop's clock, in seconds."""

    def __init__(self, url: str, throttle: Throttle) -> None:
        self.url = url
        self.throttle = throttle
        self.down_until = 0.0


class Place:
    """A request's place at a server, and what came of it: said once, else the request just leaves."""

    def __init__(self, endpoint: Endpoint, ticket: Ticket, look_again: Callable[[], None]) -> None:
        self.endpoint = endpoint
        self._look_again = look_again
        self._ticket = ticket
        self._sent = self._settled = False

    def sent(self) -> None:
        """The request went out on a connection."""
        if not self._sent:
            self._sent = True
            self.endpoint.throttle.sent(_now())
            if self.endpoint.throttle.is_opening:
                self._look_again()

    def answered(self) -> None:
        """The server answered, with whatever."""
        self._settle()
        self.endpoint.throttle.answered(self._ticket)
        self.endpoint.down_until = 0.0

    def refused(self, after_s: float) -> None:
        """The server is busy, and wants to be asked again after so many seconds (0: does not say)."""
        self._settle()
        self.endpoint.throttle.refused(self._ticket, after_s, _now())

    def timed_out(self) -> None:
        """No answer in time."""
        self._settle()
        self.endpoint.throttle.timed_out(self._ticket)

    def leave(self) -> None:
        """Give the place back where nothing was said."""
        if not self._settled:
            self._settle()
            self.endpoint.throttle.left()

    def _settle(self) -> None:
        assert not self._settled
        self.sent()
        self._settled = True


class _Waiting(NamedTuple):
    turn: "asyncio.Future[Place]"
    avoid: Collection[Endpoint]


class EndpointRouter:
    """Hands out places; for one event loop.

    Args:
        endpoints: the servers.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._waiting: deque[_Waiting] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, avoid: Collection[Endpoint] = _NONE, again: bool = False) -> AsyncIterator[Place]:
        """Hold a place at a server, waiting while none has room; `again` goes before requests never asked.

        Servers in `avoid` are taken only if no other has room.

        Raises:
            EngineError: what `fail_waiting` was told.
        """
        place = await self._turn(avoid, again)
        try:
            yield place
        finally:
            place.leave()
            self._hand_out()

    def other_is_open(self, than: Collection[Endpoint]) -> bool:
        """Whether a request that failed at some servers has another to go to at once."""
        now = _now()
        return any(
            endpoint not in than and now >= endpoint.down_until and not endpoint.throttle.is_paused(now)
            for endpoint in self.endpoints
        )

    def refused_for(self) -> float:
        """Seconds since any server last answered, if all of them refuse; else 0."""
        since = [endpoint.throttle.refused_since for endpoint in self.endpoints]
        known = [moment for moment in since if moment is not None]
        return _now() - max(known) if len(known) == len(since) else 0.0

    def fail_waiting(self, error: EngineError) -> None:
        """Raise an error for everyone who waits for a place."""
        while self._waiting:
            turn = self._waiting.popleft().turn
            if not turn.done():
                turn.set_exception(error)

    async def _turn(self, avoid: Collection[Endpoint], again: bool) -> Place:
        waiting = _Waiting(asyncio.get_running_loop().create_future(), avoid)
        if again:
            self._waiting.appendleft(waiting)
        else:
            self._waiting.append(waiting)
        self._hand_out()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                waiting.turn.result().leave()
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        """Give places to those who wait, in their order, as long as a server has room."""
        if not self._waiting:
            return
        now = _now()
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.turn.done():
                self._waiting.popleft()
                continue
            endpoint = self._choose(waiting.avoid, now)
            if endpoint is None:
                self._set_alarm(now)
                return
            self._waiting.popleft()
            waiting.turn.set_result(Place(endpoint, endpoint.throttle.granted(now), self._hand_out))

    def _choose(self, avoid: Collection[Endpoint], now: float) -> Endpoint | None:
        up = [endpoint for endpoint in self.endpoints if now >= endpoint.down_until] or self.endpoints
        roomy = [endpoint for endpoint in up if endpoint.throttle.has_room(now)]
        wanted = [endpoint for endpoint in roomy if endpoint not in avoid] or roomy
        return min(wanted, key=lambda endpoint: endpoint.throttle.in_flight, default=None)

    def _set_alarm(self, now: float) -> None:
        """Look again when a pause ends, a server is opened further or one that was down may be up."""
        moments = [
            endpoint.down_until if endpoint.down_until > now else endpoint.throttle.opens_at(now)
            for endpoint in self.endpoints
        ]
        if self._alarm is not None:
            self._alarm.cancel()
        soonest = min((moment for moment in moments if moment is not None), default=None)
        if soonest is not None:
            self._alarm = asyncio.get_running_loop().call_at(soonest, self._hand_out)


def _now() -> float:
    return asyncio.get_running_loop().time()
