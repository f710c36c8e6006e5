"""An engine that remembers: every answer is stored before it is handed on, so a rerun of a stage is a replay."""

import asyncio
import json
import threading
from concurrent.futures import Future
from typing import Protocol

from spar_core.engines.base import Completion, Engine, Generation, GenerationRequest
from spar_core.errors import RequestRejectedError


class CompletionStore(Protocol):
    """A durable map from request key to answer text. Safe to call from several threads."""

    def get(self, key: str) -> str | None:
        """The stored answer, None where there is none."""
        ...

    def put(self, key: str, answer: str) -> None:
        """Store an answer; it survives the end of the process from the moment this returns."""
        ...


class SharedAnswers:
    """A store from which several engines answer, and what they ask at this moment. Thread-safe."""

    def __init__(self, store: CompletionStore) -> None:
        self.store = store
        self.lock = threading.Lock()
        self.in_flight: dict[str, Future[None]] = {}


class JournaledEngine:
    """Answers from the store what was answered before, and asks the wrapped engine for the rest.

    Equal requests in flight at the same time are asked once, also by different engines that share their answers. A
    request the engine rejected for good is rejected again on replay, with the same message and reason. What may pass is
    never recorded: an unavailable engine, and a rejection whose reason is not the request itself.
    """

    def __init__(self, engine: Engine, store: CompletionStore | SharedAnswers) -> None:
        self._engine = engine
        self._shared = store if isinstance(store, SharedAnswers) else SharedAnswers(store)
        self.asked = 0
        self.replayed = 0

    @property
    def model_digest(self) -> str:
        """Content digest of the weights that answer."""
        return self._engine.model_digest

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request, from the store where it holds the answer.

        Raises:
            RequestRejectedError: the engine rejects the request, now or when it was first asked.
            EngineUnavailableError: no answer after all retries.
            StorageError: the answer could not be stored.
        """
        key = request.key(self.model_digest)
        while True:
            answer, other = self._claim(key)
            if answer is not None:
                return _decode(answer)
            if other is None:
                return await self._ask(key, request)
            # Raises what the other caller's request raised; returns when it was answered or cancelled.
            await asyncio.wrap_future(other)

    async def close(self) -> None:
        """Close the wrapped engine; the store belongs to whoever opened it."""
        await self._engine.close()

    def _claim(self, key: str) -> tuple[str | None, "Future[None] | None"]:
        """The stored answer, or the question in flight to wait for, or neither: the key is the caller's to ask."""
        with self._shared.lock:
            answer = self._shared.store.get(key)
            if answer is not None:
                self.replayed += 1
                return answer, None
            other = self._shared.in_flight.get(key)
            if other is None:
                mine: Future[None] = Future()
                mine.set_running_or_notify_cancel()  # a waiter that is cancelled must not cancel the question
                self._shared.in_flight[key] = mine
            return None, other

    async def _ask(self, key: str, request: GenerationRequest) -> Generation:
        failure: Exception | None = None
        try:
            try:
                generation = await self._engine.generate(request)
            except RequestRejectedError as rejection:
                if rejection.permanent:
                    self._record(key, _encode_rejection(rejection))
                raise
            self._record(key, _encode(generation))
            return generation
        except Exception as error:
            failure = error
            raise
        finally:
            with self._shared.lock:
                question = self._shared.in_flight.pop(key)
            if failure is None or (isinstance(failure, RequestRejectedError) and failure.permanent):
                question.set_result(None)  # waiters look into the store; after a cancellation one of them asks
            else:
                question.set_exception(failure)

    def _record(self, key: str, answer: str) -> None:
        self._shared.store.put(key, answer)
        with self._shared.lock:
            self.asked += 1


def _encode(generation: Generation) -> str:
    completions = [
        [
            *(entry.text, entry.finish_reason, entry.completion_tokens),
            *([entry.thought] if entry.thought or entry.shares else []),
            *([entry.shares] if entry.shares else []),
        ]
        for entry in generation.completions
    ]
    return json.dumps({"completions": completions, "prompt_tokens": generation.prompt_tokens})


def _encode_rejection(rejection: RequestRejectedError) -> str:
    return json.dumps({"rejected": rejection.reason, "message": str(rejection)})


def _decode(answer: str) -> Generation:
    fields = json.loads(answer)
    if "rejected" in fields:
        raise RequestRejectedError(fields["message"], fields["rejected"])
    completions = ((*entry[:4], *(tuple(shares) for shares in entry[4:])) for entry in fields["completions"])
    return Generation(tuple(Completion(*entry) for entry in completions), fields["prompt_tokens"])
