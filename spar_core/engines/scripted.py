"""An engine that answers from a script: real enough for whole runs, and the one on which timing is put on trial.

Results of the method must not depend on batching, concurrency or the order of completion. This engine
lets a test choose that order (`order`), bound what is in flight (`max_in_flight`), add latency, and make
any call fail, while the answers stay a pure function of the request.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from spar_core.engines.base import Completion, Generation, GenerationRequest
from spar_core.engines.thoughts import ThoughtRules
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import derive_seed

Answer = str | Completion | Exception
Script = Callable[[GenerationRequest, int], Answer]
Order = Callable[[Sequence[GenerationRequest]], int]

_CHARACTERS_PER_TOKEN = 4  # rough figure for English; only token counts depend on it


@dataclass(frozen=True, slots=True)
class Rule:
    """Answers for every request whose last message matches `pattern` (a regular expression, searched).

    Sample i gets `answers[i % len(answers)]`.
    """

    pattern: str
    answers: tuple[Answer, ...]


def rules(*table: Rule) -> Script:
    """Script that answers from the first matching rule; no match is a rejected request."""
    compiled = [(re.compile(rule.pattern, re.DOTALL), rule.answers) for rule in table]

    def answer(request: GenerationRequest, index: int) -> Answer:
        text = request.messages[-1].content
        for pattern, answers in compiled:
            if pattern.search(text):
                return answers[index % len(answers)]
        return RequestRejectedError(f"no rule of the script matches {text[:80]!r}", reason="no_rule")

    return answer


def failing(script: Script, *, rate: float, error: Callable[[], Exception], seed: int = 0) -> Script:
    """Script in which a share `rate` of the requests fails with `error()`.

    Which ones fail depends on the request alone, so a rerun fails alike.
    """

    def answer(request: GenerationRequest, index: int) -> Answer:
        if derive_seed(seed, "injected-failure", request.key("")) < rate * 2**31:
            return error()
        return script(request, index)

    return answer


def oldest_first(waiting: Sequence[GenerationRequest]) -> int:
    """Complete requests in the order they came."""
    return 0


def newest_first(waiting: Sequence[GenerationRequest]) -> int:
    """Complete the latest request in flight first: the reverse of what code may silently rely on."""
    return len(waiting) - 1


def shuffled(seed: int) -> Order:
    """Complete a random request of those in flight next, by a seeded draw."""
    draws = Random(seed)
    return lambda waiting: draws.randrange(len(waiting))


class ScriptedEngine:
    """Answers from a function (or `rules(...)`); sample i of a seed is `answer(request, i)`.

    Args:
        answer: gives the text (thoughts in it are told apart as from a model's), a whole `Completion`, or an exception
            to raise for the request.
        model_digest: what the journal takes for the identity of the weights.
        latency_s: seconds to wait before each answer, or a function of the request.
        order: which of the requests in flight completes next; None answers at once.
        max_in_flight: at most this many requests are candidates for `order`; later ones queue behind.
        fail_after: every request after this many answered ones raises EngineUnavailableError, as a
            server that went down would; None never fails.
        log: keep every request in `requests` (grows with their number).
    """

    def __init__(
        self,
        answer: Script,
        *,
        model_digest: str = "scripted",
        latency_s: float | Callable[[GenerationRequest], float] = 0.0,
        order: Order | None = None,
        max_in_flight: int | None = None,
        fail_after: int | None = None,
        log: bool = True,
    ) -> None:
        self._answer = answer
        self._digest = model_digest
        self._latency = latency_s
        self._order = order
        self._max_in_flight = max_in_flight
        self._fail_after = fail_after
        self._log = log
        self._lock = threading.Lock()
        self._benches: dict[asyncio.AbstractEventLoop, _Bench] = {}
        self.requests: list[GenerationRequest] = []
        self.calls = 0
        self.completions = 0

    @property
    def model_digest(self) -> str:
        """The digest given at construction."""
        return self._digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """Answer by the script.

        Raises:
            RequestRejectedError, EngineUnavailableError: as the script says, or after `fail_after`.
        """
        self._count(request)
        if self._latency:
            await asyncio.sleep(self._latency(request) if callable(self._latency) else self._latency)
        if self._order is not None:
            await self._bench(self._order).turn(request)
        return Generation(
            tuple(self._complete(request, index) for index in range(request.first, request.first + request.n)),
            sum(_tokens(message.content) for message in request.messages),
        )

    async def close(self) -> None:
        """Nothing to release."""

    def _count(self, request: GenerationRequest) -> None:
        with self._lock:
            if self._fail_after is not None and self.calls >= self._fail_after:
                raise EngineUnavailableError(f"the scripted engine was told to stop after {self._fail_after} requests")
            self.calls += 1
            self.completions += request.n
            if self._log:
                self.requests.append(request)

    def _bench(self, order: Order) -> "_Bench":
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._benches:
                self._benches = {known: bench for known, bench in self._benches.items() if not known.is_closed()}
                self._benches[loop] = _Bench(order, self._max_in_flight)
            return self._benches[loop]

    def _complete(self, request: GenerationRequest, index: int) -> Completion:
        answer = self._answer(request, index)
        if isinstance(answer, str):
            thought, text = ThoughtRules().split(answer)
            return Completion(text, "stop", _tokens(answer), thought)
        if isinstance(answer, Completion):
            return answer
        if isinstance(answer, Exception):
            raise answer
        raise EngineError(f"the script must give text, a Completion or an exception, not {type(answer).__name__}")


class _Bench:
    """Requests waiting in one event loop, released one at a time once nobody adds more."""

    def __init__(self, order: Order, max_in_flight: int | None) -> None:
        self._order = order
        self._limit = max_in_flight
        self._waiting: list[tuple[GenerationRequest, asyncio.Future[None]]] = []
        self._seen = 0
        self._scheduled = False

    async def turn(self, request: GenerationRequest) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((request, done))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._release)
        await done

    def _release(self) -> None:
        # Only when a whole turn of the loop brought no new request is everyone who could ask waiting here;
        # completing one earlier would let the loop's own order decide.
        if len(self._waiting) != self._seen:
            self._seen = len(self._waiting)
            asyncio.get_running_loop().call_soon(self._release)
            return
        candidates = self._waiting[: self._limit]
        chosen = self._order([request for request, _ in candidates])
        _, done = self._waiting.pop(chosen)
        if not done.done():
            done.set_result(None)
        self._seen = -1
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._release)


def _tokens(text: str) -> int:
    return len(text) // _CHARACTERS_PER_TOKEN + 1
