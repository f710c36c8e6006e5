"""What an engine has done so far: requests, tokens, seconds."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from spar_core.engines.base import Engine, Generation, GenerationRequest
from spar_core.errors import RequestRejectedError


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Sums since the engine was opened.

    `requests` and tokens count answered requests; `busy_seconds` is the time during which at least one
    request was being computed. Of servers: HTTP `calls`, and how many of them they refused for now (429, 503).
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_seconds: float = 0.0
    calls: int = 0
    refusals: int = 0


class UsageMeter:
    """Adds up an engine's work; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._prompt_tokens = self._completion_tokens = 0
        self._seconds = 0.0
        self._in_flight = 0
        self._busy_since = 0.0
        self._refusals: Counter[str] = Counter()

    @property
    def refusals(self) -> dict[str, int]:
        """Requests the engine refused, by reason."""
        with self._lock:
            return dict(self._refusals)

    def refused(self, reason: str) -> None:
        """Count a refused request."""
        with self._lock:
            self._refusals[reason] += 1

    @property
    def stats(self) -> EngineStats:
        """The sums so far, the time of requests still in flight included."""
        with self._lock:
            running = time.perf_counter() - self._busy_since if self._in_flight else 0.0
            return EngineStats(self._requests, self._prompt_tokens, self._completion_tokens, self._seconds + running)

    def add(self, generation: Generation | None = None, seconds: float = 0.0) -> None:
        """Count an answered request, or seconds of work."""
        with self._lock:
            self._seconds += seconds
            if generation is not None:
                self._requests += 1
                self._prompt_tokens += generation.prompt_tokens
                self._completion_tokens += sum(done.completion_tokens for done in generation.completions)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count the enclosed time as busy; overlapping requests count once."""
        with self._lock:
            if self._in_flight == 0:
                self._busy_since = time.perf_counter()
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
                if self._in_flight == 0:
                    self._seconds += time.perf_counter() - self._busy_since


class MeteredEngine:
    """Counts what is answered through it, replayed answers included: the cost of the work, whoever computed it."""

    def __init__(self, engine: Engine, meter: UsageMeter) -> None:
        self._engine = engine
        self._meter = meter

    @property
    def model_digest(self) -> str:
        """Content digest of the weights that answer."""
        return self._engine.model_digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request and count it.

        Raises:
            RequestRejectedError: the engine rejects the request.
            EngineUnavailableError: no answer after all retries.
        """
        try:
            generation = await self._engine.generate(request)
        except RequestRejectedError as error:
            self._meter.refused(error.reason)
            raise
        self._meter.add(generation)
        return generation

    async def close(self) -> None:
        """Close the wrapped engine."""
        await self._engine.close()
