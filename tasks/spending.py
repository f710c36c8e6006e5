"""What a run spends while it goes on, and where that ends it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from spar_core.config.budget import BudgetConfig
from spar_core.engines.base import Engine, Generation, GenerationRequest
from spar_core.errors import BudgetError
from storage.entries import Spent
from storage.ledger import Ledger

_LOOK_S = 0.05
_SAVED_EVERY_S = 5.0
_HOUR_S = 3600.0


class Spending:
    """Counts what one run spends, beginning with what its earlier starts spent. Thread-safe.

    Written down every few seconds while the run is open, so that kill -9 forgets no more than that.
    """

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._spent = ledger.spent(run_id)
        self._since: float | None = None
        self._gpus = 0
        self._saved = 0.0
        self._asked = 0
        self._answers = self._answer_tokens = 0

    @property
    def spent(self) -> Spent:
        """Tokens and seconds so far."""
        with self._lock:
            return self._now()

    @property
    def asked(self) -> int:
        """Requests at an engine just now."""
        with self._lock:
            return self._asked

    @contextmanager
    def clocked(self, gpus: int = 0) -> Iterator[None]:
        """Count the time of the block, in which the run holds so many GPUs; one inside of another counts once."""
        with self._lock:
            outermost = self._since is None
            if outermost:
                self._since, self._gpus = time.monotonic(), gpus
        try:
            yield
        finally:
            if outermost:
                with self._lock:
                    self._spent, self._since = self._now(), None
                    self._save()

    def check(self, budget: BudgetConfig) -> None:
        """See that there is something left.

        Raises:
            BudgetError: a limit is reached; the message says which and how to go on.
        """
        spent = self.spent
        if budget.tokens is not None and spent.tokens >= budget.tokens:
            raise BudgetError(
                f"the budget is spent: {spent.tokens:,} of budget.tokens={budget.tokens:,} tokens. {_GO_ON}"
            )
        if budget.hours is not None and spent.seconds >= budget.hours * _HOUR_S:
            raise BudgetError(
                f"the budget is spent: {spent.seconds / _HOUR_S:.2f} of budget.hours={budget.hours:g} hours. {_GO_ON}"
            )

    def is_over(self, budget: BudgetConfig) -> bool:
        """Whether a limit is reached."""
        try:
            self.check(budget)
        except BudgetError:
            return True
        return False

    def has_room(self, budget: BudgetConfig, most: int) -> bool:
        """Whether what is under way and one request more will probably stay within the budget.

        `most`: tokens that the request may write, which is what it counts as until there were answers to go by.
        """
        if self.is_over(budget):
            return False
        if budget.tokens is None:
            return True
        with self._lock:
            usual = self._answer_tokens / self._answers if self._answer_tokens else most
            return self._spent.tokens + usual * (self._asked + 1) <= budget.tokens

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count the block as a request under way."""
        with self._lock:
            self._asked += 1
        try:
            yield
        finally:
            with self._lock:
                self._asked -= 1

    def answered(self, generation: Generation) -> None:
        """Count the tokens of an answer that was computed."""
        written = sum(done.completion_tokens for done in generation.completions)
        with self._lock:
            self._answers += 1
            self._answer_tokens += generation.prompt_tokens + written
        self.counted(generation.prompt_tokens, written)

    def counted(self, read: int, written: int) -> None:
        """Count tokens that a model has read and written."""
        with self._lock:
            spent = self._spent
            self._spent = spent.model_copy(update={"read": spent.read + read, "written": spent.written + written})
            if self._since is not None and time.monotonic() - self._saved > _SAVED_EVERY_S:
                self._save()

    def _now(self) -> Spent:
        running, spent = 0.0 if self._since is None else time.monotonic() - self._since, self._spent
        update = {"seconds": spent.seconds + running, "gpu_seconds": spent.gpu_seconds + running * self._gpus}
        return spent.model_copy(update=update)

    def _save(self) -> None:
        self._saved = time.monotonic()
        self._ledger.record_spent(self._now())


_GO_ON = "Run the same command with a higher limit (--set budget.tokens=..., budget.hours=...): finished work is kept"


class BudgetedEngine:
    """Asks an engine while the budget lasts. Near its end no more is asked at once than what is left will probably
    pay for; at its end what is under way is waited for, then the next asker fails.

    Stands between the journal and the engine: what the journal answers costs nothing, and what was waited for is in
    the journal before anybody fails.
    """

    def __init__(self, engine: Engine, spending: Spending, budget: BudgetConfig) -> None:
        self._engine = engine
        self._spending = spending
        self._budget = budget

    @property
    def model_digest(self) -> str:
        """Content digest of the weights that answer."""
        return self._engine.model_digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request and count its tokens.

        Raises:
            BudgetError: a limit is reached.
            EngineError: as the engine says.
        """
        most = request.n * request.sampling.max_tokens
        while not self._spending.has_room(self._budget, most):
            if not self._spending.asked:
                self._spending.check(self._budget)
                break  # something is left, if less than an answer usually takes: this is the last
            await asyncio.sleep(_LOOK_S)
        with self._spending.asking():
            generation = await self._engine.generate(request)
            self._spending.answered(generation)
        return generation

    async def close(self) -> None:
        """Close the wrapped engine."""
        await self._engine.close()
