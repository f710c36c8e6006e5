"""How much one server bears: requests in flight that adapt to its refusals, and shared pauses.

A refusal (HTTP 429, 503) comes at once, an answer after seconds. So a server is opened in steps: when all requests of
a step are sent and a short time brought no refusal, twice as many may be in flight. What was in flight when it refused
is more than it bears: the limit falls below that, at most by half for refusals that belong together, and grows again
with the answers (additive increase, multiplicative decrease; the growth is the slower the more often it was in vain).
Refusals of no more than the server answered before have another reason than the number in flight: they only pause.
After a pause one request tries first.
"""

from typing import NamedTuple

_FIRST_STEP = 8  # requests that a server gets before anything is known of it
_ACCEPTING_S = 0.002  # what a server may need to accept one more request, while the refusals behind it wait
_SLACK = 1.5  # of a step over the time the latest refusal took
_LONGEST_STEP_S = 5.0
_KEPT = 0.8  # of what was in flight at a refusal, and of what counts as borne after one
_MOST_HOLD = 64
_MOST_DOUBLINGS = 16


class Ticket(NamedTuple):
    """A request on its way: `event` counts the refusals known when it was sent, `at` is in seconds, `place` its number
    among those in flight."""

    event: int
    at: float
    place: int


class Throttle:
    """The state of one server; for one event loop. All moments are seconds on the caller's monotonic clock.

    Args:
        most: requests in flight that are never exceeded.
        first_pause_s: pause after a refusal that names none; doubles until something is answered.
        longest_pause_s: bound of all pauses, also of those the server asks for.
        step_s: longer than a refusal takes to come; adapts if refusals turn out to be slower.
    """

    def __init__(self, most: int, first_pause_s: float, longest_pause_s: float, step_s: float) -> None:
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
        self._borne = 0.0
        self._least_step_s = self._step_s = step_s
        self._window = _FIRST_STEP
        self._extra = _FIRST_STEP
        self._full_since: float | None = None
        self._reopens = False
        self._unsent = 0
        self._sent = self._refused = 0
        self._answers = 0
        self._hold = 1
        self._grew = False

    def has_room(self, now: float) -> bool:
        """Whether a request may be sent now."""
        if now < self._paused_until:
            return False
        if self._reopens:
            self._reopens, self._extra, self._full_since = False, 1, None
            self._window = self.in_flight + 1
        if self._full_since is not None and now >= self._step_ends():
            self._window += self._extra
            self._extra, self._full_since = 2 * self._extra, None
        return self.in_flight < min(self.limit, self._window)

    def opens_at(self, now: float) -> float | None:
        """The next moment at which there may be room without any answer; None: only an answer makes room."""
        if now < self._paused_until:
            return self._paused_until
        if self._full_since is None or self.in_flight >= self.limit:
            return None
        return self._step_ends()

    @property
    def is_opening(self) -> bool:
        """Whether less may be in flight than the limit, as the server is still being tried."""
        return self._window < self.limit

    def is_paused(self, now: float) -> bool:
        """Whether the server asked to be left alone."""
        return now < self._paused_until

    def granted(self, now: float) -> Ticket:
        """Count a request that is going to be sent."""
        self.in_flight += 1
        self._unsent += 1
        self._sent += 1
        return Ticket(self._event, now, self.in_flight)

    def sent(self, now: float) -> None:
        """Count that it is being sent; a step's time runs once all of its requests are."""
        self._unsent -= 1
        if self._unsent == 0 and self._full_since is None and self.in_flight >= self._window:
            self._full_since = now

    def left(self) -> None:
        """Count a request that ended in a way that says nothing about the load."""
        self.in_flight -= 1

    def answered(self, ticket: Ticket) -> None:
        """Count an answer: the server bore what was in flight from the sending until now."""
        self._borne = max(self._borne, min(ticket.place, self.in_flight))
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
            self._step_s = min(_LONGEST_STEP_S, max(self._least_step_s, _SLACK * (now - ticket.at)))
            # All since the last pause, or no more than were borne: their number is not the reason.
            door_is_shut = self._sent == self._refused or ticket.place <= self._borne
            self._floor = self.limit if door_is_shut else max(1, tried // 2)
            if not door_is_shut:
                self._slower_growth()
            if self._sent != self._refused:
                self._borne *= _KEPT
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

    def _step_ends(self) -> float:
        assert self._full_since is not None
        return self._full_since + self._step_s + _ACCEPTING_S * self._extra

    def _pause(self, after_s: float, now: float) -> None:
        self._event += 1
        wanted = after_s or self._first_pause_s * 2**self._doublings
        self._doublings = min(self._doublings + 1, _MOST_DOUBLINGS)
        self._paused_until = max(self._paused_until, now + min(wanted, self._longest_pause_s))
        self._reopens = True
        self._sent = self._refused = 0

    def _slower_growth(self) -> None:
        self._hold = min(_MOST_HOLD, 2 * self._hold)
        self._answers, self._grew = 0, False
