"""One simulated driving process: its shards, its CPU, its connections. It asks as the real scheduler and router do."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from heapq import heappop, heappush
from random import Random

import simpy

from benchmarks.fleet_simulation.replica import Replica, Request
from benchmarks.fleet_simulation.scenario import Driving, Kind, Texts
from benchmarks.fleet_simulation.tree_shapes import Ask, Shape

Steps = Generator[simpy.Event, None, None]


class Worker:
    """Takes a place at the replica with the fewest requests of its own, or waits for one, first come first served."""

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        replicas: Sequence[Replica],
        driving: Driving,
        texts: dict[Kind, Texts],
        grain: tuple[int, int],
        random: Random,
    ) -> None:
        """`grain`: requests of the worker, and of one of its replicas, that a simulated one stands for."""
        self.number = number
        self.cpu_s = 0.0
        self._env = env
        self._driving = driving
        self._texts = texts
        self._grain = grain[0]
        self._random = random
        self._most = max(1, driving.max_concurrency // grain[1])
        self._free_at = 0.0
        self._waiting: deque[Request] = deque()
        self._replicas = tuple(replicas)
        self._places = {replica: place for place, replica in enumerate(replicas)}
        self._in_flight = [0] * len(replicas)
        self._roomy = [(0, place) for place in range(len(replicas))]
        """(requests in flight, place of the replica): the first is the one with the fewest, unless it changed since."""
        self._down = False

    def shard(self, shapes: Iterable[Shape]) -> Steps:
        """Work through the items of a shard, all of them open at once, with a bound on the requests in flight."""
        room = Room(self._env, max(1, self._driving.requests_in_flight // self._grain))
        items = [self._env.process(self._item(shape, room)) for shape in shapes]
        yield self._env.all_of(items)

    def answered(self, request: Request) -> None:
        """A replica is done with a request of this worker."""
        assert request.replica is not None
        self._count(self._places[request.replica], -1)
        request.answered()
        self._hand_out()

    def ask_again(self, requests: Sequence[Request], replica: Replica) -> None:
        """A replica died with these: they go before all that were never asked."""
        self._count(self._places[replica], -len(requests))
        self._waiting.extendleft(reversed(requests))
        self._hand_out()

    def came_back(self, replica: Replica) -> None:
        """A replica is there again."""
        if replica in self._places:
            self._count(self._places[replica], 0)
            self._hand_out()

    def stop(self) -> None:
        """Die: what was asked is given up, and is asked again once the process is back."""
        self._down = True
        for place, count in enumerate(self._in_flight):
            if count:
                dropped = self._replicas[place].drop(lambda request: request.worker == self.number)
                self._count(place, -len(dropped))
                self._waiting.extendleft(reversed(dropped))

    def start(self) -> None:
        """Be back."""
        self._down = False
        self._hand_out()

    def _item(self, shape: Shape, room: "Room") -> Steps:
        for asks in shape:
            yield self._round(asks, room)

    def _round(self, asks: Sequence[Ask], room: "Room") -> simpy.Event:
        """Ask all at once; the event of the last answer."""
        over, left = self._env.event(), len(asks)

        def one_less() -> None:
            nonlocal left
            room.leave()
            left -= 1
            if not left:
                over.succeed()

        for ask in asks:
            texts = self._texts[ask.kind]
            lengths = tuple(texts.draw(self._random) for _ in range(ask.rows))
            request = Request(texts.read, lengths, self.number, one_less)
            room.enter(lambda request=request: self._send(request))
        return over

    def _send(self, request: Request) -> None:
        """Spend the CPU for it, one request after the other, then put it in line."""
        cost = self._driving.request_cpu_s * self._grain
        self.cpu_s += cost
        self._free_at = max(self._free_at, self._env.now) + cost
        ready = self._env.timeout(self._free_at - self._env.now)
        ready.callbacks.append(lambda _: self._line_up(request))

    def _line_up(self, request: Request) -> None:
        self._waiting.append(request)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and not self._down:
            place = self._choose()
            if place is None:
                return
            self._count(place, 1)
            self._replicas[place].ask(self._waiting.popleft())

    def _choose(self) -> int | None:
        """Of the replicas that are up and have room the one with the fewest requests, the first of equals."""
        while self._roomy:
            count, place = self._roomy[0]
            if count == self._in_flight[place] and self._replicas[place].up:
                return place if count < self._most else None
            heappop(self._roomy)  # entered anew when it changed, or is back
        return None

    def _count(self, place: int, change: int) -> None:
        self._in_flight[place] += change
        heappush(self._roomy, (self._in_flight[place], place))


class Room:
    """At most so many requests of a shard in flight; the others wait in their order."""

    def __init__(self, env: simpy.Environment, most: int) -> None:
        self._free = most
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, go: Callable[[], None]) -> None:
        """Call `go` now, or when there is room."""
        if self._free:
            self._free -= 1
            go()
        else:
            self._waiting.append(go)

    def leave(self) -> None:
        """Give the place to the next, or back."""
        if self._waiting:
            self._waiting.popleft()()
        else:
            self._free += 1
