"""How much one server bears: requests in flight that adapt to its refusals, and shared pauses.

A refusal (HTTP 429, 503) comes at once, an answer after seconds. So a server is opened in steps: every short step
without a refusal doubles what may be in flight. What was in flight when it refused is more than it bears: the limit
falls below that, at most by half for refusals that belong together, and grows again with the answers (additive
increase, multiplicative decrease; the growth is the slower the more often it was in vain). After a pause one request
tries first.
"""

from typing import NamedTuple

_FIRST_STEP = 16  # requests that a server gets before anything is known of it
_STEP_S = 0.1  # longer than a refusal takes, unless refusals turn out to be slower
_SLACK = 1.5  # of a step over the time the latest refusal took
_KEPT = 0.8  # of what was in flight at a refusal
_MOST_HOLD = 64
_MOST_DOUBLINGS = 16


class Ticket(NamedTuple):
    """When a request was sent: `event` counts the refusals known by then, `at` is in seconds."""

    event: int
    at: float


class Throttle:
    """The state of one server; for one event loop. All moments are seconds on the caller's monotonic clock.

    Args:
        most: requests in flight that are never exceeded.
        first_pause_s: pause after a refusal that names none; doubles until something is answered.
        longest_pause_s: bound of all pauses, also of those the server asks for.
    """

    def __init__(self, most: int, first_pause_s: float, longest_pause_s: float) -> None:
        self.limit = most
        self.in_flight = 0
        self.refusals = 0
        self.refused_since: float | None = None
        """Moment of the first refusal since the last answer."""
        self._most = most
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._paused_until = 0.0
        self._doublings = 0
        self._event = 0
        self._floor = 1
        self._step_s = _STEP_S
        self._opened_at: float | None = None
        self._opened_with = 0
        self._first = _FIRST_STEP
        self._sent = self._refused = 0
        self._answers = 0
        self._hold = 1
        self._grew = False

    def has_room(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return now >= self._paused_until and self.in_flight < min(self.limit, self._window(now))

    def opens_at(self, now: float) -> float | None:
        """The next moment at which there may be room without any answer; None: only an answer makes room."""
        if now < self._paused_until:
            return self._paused_until
        if self.in_flight >= self.limit or self._opened_at is None:
            return None
        steps = int((now - self._opened_at) / self._step_s) + 1
        return self._opened_at + steps * self._step_s

    def is_paused(self, now: float) -> bool:
        """Whether the server asked to be left alone."""
        return now < self._paused_until

    def sent(self, now: float) -> Ticket:
        """Count a request that is being sent."""
        self.in_flight += 1
        self._sent += 1
        return Ticket(self._event, now)

    def left(self) -> None:
        """Count a request that ended in a way that says nothing about the load."""
        self.in_flight -= 1

    def answered(self) -> None:
        """Count an answer: the server bears what is in flight."""
        was_full = self.in_flight >= self.limit
        self.in_flight -= 1
        self._doublings = 0
        self.refused_since = None
        if not was_full or self.limit >= self._most:
            return
        self._answers += 1
        if self._answers >= self.limit * self._hold:
            self._answers = 0
            self._hold = max(1, self._hold // 2) if self._grew else self._hold
            self._grew = True
            self.limit = min(self._most, self.limit + max(1, self.limit // 8))

    def refused(self, ticket: Ticket, after_s: float, now: float) -> None:
        """Count a refusal: fewer in flight, and a pause of `after_s` seconds (0: the server named none)."""
        tried = self.in_flight
        self.in_flight -= 1
        self.refusals += 1
        if self.refused_since is None:
            self.refused_since = now
        if ticket.event == self._event:
            self._refused += 1
            self._step_s = max(_STEP_S, _SLACK * (now - ticket.at))
            door_is_shut = self._sent == self._refused  # all since the last pause: their number was not the reason
            self._floor = self.limit if door_is_shut else max(1, tried // 2)
            if not door_is_shut:
                self._slower_growth()
            self._pause(after_s, now)
        elif after_s:
            self._paused_until = max(self._paused_until, now + min(after_s, self._longest_pause_s))
        self.limit = min(self.limit, max(int(_KEPT * self.in_flight), self._floor))

    def timed_out(self, ticket: Ticket) -> None:
        """Count a request that waited too long: the server's own queue is too long, half as much is enough."""
        tried = self.in_flight
        self.in_flight -= 1
        if ticket.event == self._event:
            self._event += 1
            self._slower_growth()
            self.limit = max(1, min(self.limit, tried) // 2)

    def _pause(self, after_s: float, now: float) -> None:
        self._event += 1
        wanted = after_s or self._first_pause_s * 2**self._doublings
        self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
        self._paused_until = max(self._paused_until, now + min(wanted, self._longest_pause_s))
        self._opened_at, self._first = None, 1
        self._sent = self._refused = 0

    def _slower_growth(self) -> None:
        self._hold = min(_MOST_HOLD, 2 * self._hold)
        self._answers, self._grew = 0, False

    def _window(self, now: float) -> int:
        """Requests in flight as far as the server is opened."""
        if self._opened_at is None:
            self._opened_at, self._opened_with = now, self.in_flight
        doublings = min(_MOST_DOUBLINGS, int((now - self._opened_at) / self._step_s))
        return self._opened_with + (self._first << doublings)
