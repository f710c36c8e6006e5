"""Which of several servers takes the next request.

Requests that share the beginning of their prompt go to one server, which has it in its cache. The server of a prefix is
chosen by rendezvous hashing: every process chooses alike, and a server that goes or comes moves no more than its own.
That holds up to a bound on the server's load. All else goes to the server with the fewest in flight of those that have
room, and one that has nothing to do gets what waits for others.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from spar_core.engines.throttle import Throttle, Ticket
from spar_core.errors import EngineError

_NONE: frozenset["Endpoint"] = frozenset()
_LOAD_BOUND = 1.25  # of the mean in flight per server, up to which a server gets the requests of its prefixes


class Endpoint:
    """One server address and how it fares. `down_until` is on the event loop's clock, in seconds; one that is not
    `is_open` gets no request."""

    def __init__(self, url: str, throttle: Throttle) -> None:
        self.url = url
        self.throttle = throttle
        self.down_until = 0.0
        self.is_open = True

    def is_up(self, now: float) -> bool:
        """Whether it may be asked."""
        return self.is_open and now >= self.down_until


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
    number: int
    avoid: Collection[Endpoint] = _NONE


class EndpointRouter:
    """Hands out places; for one event loop.

    Args:
        endpoints: the servers.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._again: deque[_Waiting] = deque()
        self._waiting: dict[Endpoint | None, deque[_Waiting]] = {None: deque(), **{one: deque() for one in endpoints}}
        """By the server of their prefix; those without one under None."""
        self._count = 0
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(
        self, avoid: Collection[Endpoint] = _NONE, again: bool = False, prefix: str = ""
    ) -> AsyncIterator[Place]:
        """Hold a place at a server, waiting while none has room.

        Args:
            avoid: servers that are taken only if no other has room.
            again: it was asked before, and goes ahead of requests never asked.
            prefix: what the prompt shares with those of other requests.

        Raises:
            EngineError: what `fail_waiting` was told.
        """
        place = await self._turn(avoid, again, prefix)
        try:
            yield place
        finally:
            place.leave()
            self._hand_out()

    def set_open(self, url: str, is_open: bool) -> None:
        """Take a server out, or in again as one of which nothing bad is known."""
        for endpoint in self.endpoints:
            if endpoint.url == url:
                endpoint.is_open, endpoint.down_until = is_open, 0.0
        self._hand_out()

    def other_is_open(self, than: Collection[Endpoint]) -> bool:
        """Whether a request that failed at some servers has another to go to at once."""
        now = _now()
        return any(
            endpoint not in than and endpoint.is_up(now) and not endpoint.throttle.is_paused(now)
            for endpoint in self.endpoints
        )

    def refused_for(self) -> float:
        """Seconds since any server last answered, if all of them refuse; else 0."""
        since = [endpoint.throttle.refused_since for endpoint in self.endpoints if endpoint.is_open]
        known = [moment for moment in since if moment is not None]
        return _now() - max(known) if known and len(known) == len(since) else 0.0

    def fail_waiting(self, error: EngineError) -> None:
        """Raise an error for everyone who waits for a place."""
        for queue in (self._again, *self._waiting.values()):
            while queue:
                turn = queue.popleft().turn
                if not turn.done():
                    turn.set_exception(error)

    async def _turn(self, avoid: Collection[Endpoint], again: bool, prefix: str) -> Place:
        self._count += 1
        waiting = _Waiting(asyncio.get_running_loop().create_future(), self._count, avoid)
        if again:
            self._again.append(waiting)
        else:
            self._waiting[self._home(prefix)].append(waiting)
        self._hand_out()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                waiting.turn.result().leave()
                self._hand_out()
            raise

    def _home(self, prefix: str) -> Endpoint | None:
        """The server that requests with this prefix go to, of those that are open."""
        open_ones = [endpoint for endpoint in self.endpoints if endpoint.is_open]
        if not prefix or len(open_ones) < 2:
            return None
        shared = hashlib.blake2b(prefix.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return max(open_ones, key=lambda endpoint: hashlib.blake2b(endpoint.url.encode(), key=shared).digest())

    def _hand_out(self) -> None:
        """Give places to those who wait as long as a server has room."""
        now = _now()
        while self._somebody_waits():
            found = self._match(now)
            if found is None:
                self._set_alarm(now)
                return
            turn, endpoint = found
            turn.set_result(Place(endpoint, endpoint.throttle.granted(now), self._hand_out))

    def _somebody_waits(self) -> bool:
        """Whether anybody does; those who have gone are forgotten."""
        waits = False
        for queue in (self._again, *self._waiting.values()):
            while queue and queue[0].turn.done():
                queue.popleft()
            waits = waits or bool(queue)
        return waits

    def _match(self, now: float) -> "tuple[asyncio.Future[Place], Endpoint] | None":
        """Who is next, and where; None while no server has room."""
        up = [endpoint for endpoint in self.endpoints if endpoint.is_up(now)]
        up = up or [endpoint for endpoint in self.endpoints if endpoint.is_open]
        roomy = [endpoint for endpoint in up if endpoint.throttle.has_room(now)]
        if not roomy:
            return None
        if self._again:
            waiting = self._again.popleft()
            wanted = [endpoint for endpoint in roomy if endpoint not in waiting.avoid] or roomy
            return waiting.turn, min(wanted, key=_load)
        roomy.sort(key=_load)
        queue = self._own_queue(roomy[0])
        if queue is not None:
            return queue.popleft().turn, roomy[0]
        bound = _LOAD_BOUND * (1 + sum(map(_load, up))) / len(up)
        for endpoint in roomy[1:]:
            if self._waiting[endpoint] and _load(endpoint) + 1 <= bound:
                return self._waiting[endpoint].popleft().turn, endpoint
        oldest = min((queue for queue in self._waiting.values() if queue), key=_age)
        return oldest.popleft().turn, roomy[0]

    def _own_queue(self, endpoint: Endpoint) -> "deque[_Waiting] | None":
        """Where somebody waits whom this server suits as well as any, or better; the oldest of them is first there."""
        queues = [queue for queue in (self._waiting[endpoint], self._waiting[None]) if queue]
        return min(queues, key=_age, default=None)

    def _set_alarm(self, now: float) -> None:
        """Look again when a pause ends, a server is opened further or one that was down may be up."""
        moments = [
            endpoint.down_until if endpoint.down_until > now else endpoint.throttle.opens_at(now)
            for endpoint in self.endpoints
            if endpoint.is_open
        ]
        if self._alarm is not None:
            self._alarm.cancel()
        soonest = min((moment for moment in moments if moment is not None), default=None)
        if soonest is not None:
            self._alarm = asyncio.get_running_loop().call_at(soonest, self._hand_out)


def _load(endpoint: Endpoint) -> int:
    return endpoint.throttle.in_flight


def _age(queue: "deque[_Waiting]") -> int:
    return queue[0].number


def _now() -> float:
    return asyncio.get_running_loop().time()
