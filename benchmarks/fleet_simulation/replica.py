"""One simulated model server: rows of a batch advance together, a token each per step; more rows, longer steps.

Between two events every running row gets tokens at the same rate, so that a replica needs no event per token: it counts
the steps, and rows end in the order of the step in which they do.
"""

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import ceil

import simpy

from benchmarks.fleet_simulation.scenario import Service

_ROUNDING = 1e-9


class Request:
    """Rows that are asked for together. `read`: tokens of their prompt; `lengths`: tokens that each of them writes."""

    __slots__ = ("answered", "ended", "left", "lengths", "read", "replica", "started", "worker")

    def __init__(self, read: int, lengths: tuple[int, ...], worker: int, answered: Callable[[], None]) -> None:
        self.read = read
        self.lengths = lengths
        self.worker = worker
        self.answered = answered
        self.replica: Replica | None = None
        self.reset()

    def reset(self) -> None:
        """As if never asked."""
        self.left = len(self.lengths)
        self.ended = 0
        self.started = False
        self.replica = None


class Replica:
    """A server with its queue.

    Args:
        env: the simulation.
        service: how it serves.
        grain: requests that one simulated request stands for.
        speed: of this replica, 1 for most.
        done: called with each request that is answered.
    """

    def __init__(
        self, env: simpy.Environment, service: Service, grain: int, speed: float, done: Callable[[Request], None]
    ) -> None:
        self._env = env
        self._service = service
        self._grain = grain
        self._speed = speed
        self._done = done
        self._most = max(1, service.rows // grain)
        self._waiting: deque[tuple[int, Request]] = deque()
        self._running: list[tuple[int, int, int, Request]] = []
        """(step in which the row ends, number of the row, its tokens, its request), the first to end first."""
        self._number = 0
        self._steps = 0.0
        self._reading_s = 0.0
        self._then = env.now
        self._stamp = 0
        self.up = True
        self.row_s = self.busy_s = 0.0
        """Integrals over time: of the rows running, and of whether any ran."""
        self.written = self.lost = 0
        """Tokens of answers, and tokens that no answer came of."""

    def ask(self, request: Request) -> None:
        """Put a request into the queue."""
        self.settle()
        request.replica = self
        self._waiting.extend((tokens, request) for tokens in request.lengths)
        self._go_on()

    def drop(self, which: Callable[[Request], bool]) -> list[Request]:
        """Forget some of the requests, what was written for them is lost; gives them back as if never asked."""
        self.settle()
        gone: dict[int, Request] = {}
        kept = []
        for row in self._running:
            end, _, tokens, request = row
            if which(request):
                self.lost += self._grain * max(0, tokens - ceil(end - self._steps))
                gone[id(request)] = request
            else:
                kept.append(row)
        gone |= {id(request): request for _, request in self._waiting if which(request)}
        self._running = kept
        heapify(self._running)
        self._waiting = deque(entry for entry in self._waiting if id(entry[1]) not in gone)
        for request in gone.values():
            self.lost += self._grain * request.ended
            request.reset()
        self._go_on()
        return list(gone.values())

    def settle(self) -> None:
        """Bring steps and integrals up to now."""
        passed, rows = self._env.now - self._then, len(self._running)
        self._then = self._env.now
        if not rows or not passed:
            return
        self.row_s += rows * self._grain * passed
        self.busy_s += passed
        read = min(passed, self._reading_s)
        self._reading_s -= read
        self._steps += (passed - read) / self._step()

    def _step(self) -> float:
        return self._service.step(len(self._running) * self._grain) / self._speed

    def _go_on(self) -> None:
        """Fill the batch and wait for the next row to end."""
        if not self._running:  # a step that was broken off is not gone on with
            self._steps, self._reading_s = float(ceil(self._steps - _ROUNDING)), 0.0
        while self._waiting and len(self._running) < self._most:
            tokens, request = self._waiting.popleft()
            if not request.started:
                request.started = True
                read = self._grain * request.read * (1 - self._service.reused_prompt)
                self._reading_s += read * self._service.prompt_token_s / self._speed
            self._number += 1
            heappush(self._running, (ceil(self._steps - _ROUNDING) + tokens, self._number, tokens, request))
        self._stamp += 1
        if self._running:
            until = self._reading_s + max(0.0, self._running[0][0] - self._steps) * self._step()
            timeout = self._env.timeout(until, self._stamp)
            timeout.callbacks.append(self._woken)

    def _woken(self, event: simpy.Event) -> None:
        if event.value != self._stamp:
            return  # something happened meanwhile, and another one was set
        self.settle()
        finished = []
        while self._running and self._running[0][0] <= self._steps + _ROUNDING:
            _, _, tokens, request = heappop(self._running)
            request.ended += tokens
            request.left -= 1
            if not request.left:
                self.written += self._grain * request.ended
                finished.append(request)
        self._go_on()
        for request in finished:
            self._done(request)
