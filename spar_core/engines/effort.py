"""How long one request is tried for: when it goes to another server, when it waits, when it is given up and why."""

import asyncio
from dataclasses import dataclass, field

from spar_core.engines.base import GenerationRequest
from spar_core.engines.chat_answer import BusyError, OutputLimitError, RetryableError
from spar_core.engines.configuration import ServedSettings
from spar_core.engines.endpoint_router import Endpoint, EndpointRouter
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import derive_seed

_UNUSABLE_ANSWERS = 3  # attempts at an answer that came but cannot be read
_TIMED_OUT = 3  # attempts that took too long: each starts from nothing, so more only keep the server busy
_MOST_LOWERED = 16  # times max_tokens is lowered; halving 2**16 ends there
_LONGEST_WAIT_S = 60.0


@dataclass(slots=True)
class Effort:
    """The attempts at one request; times are on the event loop's clock, in seconds.

    A retry is an attempt after every server that is open has failed once: only then is there anything to wait for.
    """

    settings: ServedSettings
    router: EndpointRouter
    request: GenerationRequest
    seed: int
    backoff_s: float
    attempts: int = 0
    failed_at: set[Endpoint] = field(default_factory=set)
    _unusable: int = 0
    _rounds: int = 0
    _timed_out: int = 0
    _lowered: int = 0
    _put_off_since: float | None = None

    @property
    def began(self) -> bool:
        """Whether the request was sent before."""
        return self.attempts > 0 or self._put_off_since is not None

    def put_off(self, busy: BusyError, others_answered: bool) -> None:
        """A server refused for now: no attempt, until patience ends.

        Raises:
            EngineUnavailableError: the servers have been refusing for too long; everyone who waits is told.
            RequestRejectedError: only this request is refused for so long.
        """
        now = asyncio.get_running_loop().time()
        self._put_off_since = now if self._put_off_since is None else self._put_off_since
        own, all_ = now - self._put_off_since, self.router.refused_for()
        if max(own, all_) <= self.settings.max_wait_s:
            return
        if all_ <= self.settings.max_wait_s and others_answered and busy.status == 503:
            raise RequestRejectedError(f"refused for {own:.0f} s: {busy}", "http_503", permanent=False) from busy
        error = EngineUnavailableError(
            f"put off for {max(own, all_):.0f} s, longer than max_wait_s ({busy}). Raise max_wait_s, lower "
            "max_concurrency, or add servers, then run again: finished work is kept"
        )
        self.router.fail_waiting(error)
        raise error from busy

    def failed(self, failure: RetryableError, endpoint: Endpoint, others_answered: bool) -> float:
        """An attempt failed; seconds to wait before the next.

        Raises:
            RequestRejectedError, EngineUnavailableError: that was the last one.
        """
        self.attempts += 1
        self._timed_out += failure.timed_out
        self.failed_at.add(endpoint)
        if failure.reason is not None:
            self._unusable += 1
            if self._unusable >= min(_UNUSABLE_ANSWERS, self.settings.max_retries + 1):
                raise self._verdict(failure, others_answered) from failure
            return self._wait(self._unusable - 1)
        endpoint.down_until = asyncio.get_running_loop().time() + self._wait(self._rounds)
        if self._timed_out >= _TIMED_OUT:
            raise self._verdict(failure, others_answered) from failure
        if self.router.other_is_open(self.failed_at):
            return 0.0
        self._rounds += 1
        if self._rounds > self.settings.max_retries:
            raise self._verdict(failure, others_answered) from failure
        self.failed_at = set()
        return self._wait(self._rounds - 1)

    def lowered(self, limit: int, error: OutputLimitError) -> int:
        """The new tokens to ask for, after the server said that `limit` are too many.

        Raises:
            RequestRejectedError: nothing is left for an answer.
        """
        self._lowered += 1
        if not 0 < error.room.allowed < limit or self._lowered > _MOST_LOWERED:
            raise RequestRejectedError(str(error), reason="prompt_too_long") from error
        return error.room.allowed

    def _verdict(self, failure: RetryableError, others_answered: bool) -> EngineError:
        """Whose fault it was that no attempt worked: the request's, or the servers'."""
        if failure.reason is not None:
            said = f"no usable answer in {self._unusable} attempts: {failure}"
            return RequestRejectedError(said, failure.reason, permanent=False)
        if failure.crashed and others_answered:
            said = f"the server fails on this request alone: {failure}"
            return RequestRejectedError(said, "http_500", permanent=False)
        if failure.timed_out and others_answered:
            said = f"no answer in {self.attempts} attempts of up to {self.settings.timeout_s:.0f} s: {failure}"
            return RequestRejectedError(said, "timeout", permanent=False)
        urls = ", ".join(endpoint.url for endpoint in self.router.endpoints)
        advice = "Raise timeout_s or lower max_concurrency" if failure.timed_out else "Check that the servers run"
        return EngineUnavailableError(
            f"no answer in {self.attempts} attempts from {urls} (last: {failure}). "
            f"{advice}, then run again: finished work is kept"
        )

    def _wait(self, tries: int) -> float:
        """Seconds: exponential, times a jitter in [0.5, 1) that the request itself determines."""
        jitter = 0.5 + derive_seed(self.seed, "retry-jitter", self.request.key(""), tries) / 2**32
        return float(min(self.backoff_s * 2**tries, _LONGEST_WAIT_S) * jitter)
