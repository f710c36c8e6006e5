"""What every engine is: one small Protocol, and the requests and answers that pass through it."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from spar_core.hashing import digest
from spar_core.records import FinishReason, Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw a completion. `max_tokens` counts new tokens; temperature 0 is greedy."""

    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """`n` completions of one chat; the prompt is computed once. Completion i depends on (seed, i) alone.

    They are the completions number `first` to `first + n - 1` of the seed: what is asked in two requests is what one
    request for all of them gives.

    With `choices` the last message is the assistant's own and unfinished, and a completion is the one of these that it
    goes on with, to the letter. A server may leave out a leading space; one that can't be held to them writes anything.
    `prefix` is what the prompt shares with those of other requests, such as the instruction that all of a search tree
    are about: of several servers one gets them all, which then has it in its cache. It is no part of the identity.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    n: int = 1
    choices: tuple[str, ...] = ()
    first: int = 0
    prefix: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.choices and (not self.messages or self.messages[-1].role != "assistant"):
            raise ValueError("choices continue the assistant's own message: it must be the last one")
        if self.first < 0:
            raise ValueError(f"completions are numbered from 0: there is no number {self.first}")

    def key(self, model_digest: str) -> str:
        """Identity of the answer: model weights, messages (before any chat template) and the request's other fields."""
        asked = [model_digest, self.messages, self.sampling, self.seed, self.n]
        further = [self.choices, self.first] if self.first else [self.choices] if self.choices else []
        return digest([*asked, *further])


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion, special tokens and the prompt removed.

    `text` is the answer; a reasoning model's `thought` is kept beside it. A thought that was cut leaves no answer.
    `completion_tokens` counts both. `shares` are the model's own probabilities (temperature 1) of the request's choices
    among themselves, in their order; empty where there were none, or the server does not tell.
    """

    text: str
    finish_reason: FinishReason
    completion_tokens: int
    thought: str = ""
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to one request: exactly `request.n` completions, in order of sample index."""

    completions: tuple[Completion, ...]
    prompt_tokens: int


@runtime_checkable
class Engine(Protocol):
    """A model that completes chats. Safe to call from several threads and event loops at once.

    Batching, queueing and retries are the engine's own business: callers simply await many requests.
    """

    @property
    def model_digest(self) -> str:
        """Content digest of the weights that answer."""
        ...

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request.

        Raises:
            RequestRejectedError: this request has no answer, for good or (`permanent` false) for now; callers record
                a drop.
            EngineUnavailableError: no answer after all retries; finished work stays journaled.
        """
        ...

    async def close(self) -> None:
        """Release memory, processes and sockets; idempotent."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """An engine that bears only so much: more asked at once waits."""

    @property
    def capacity(self) -> int:
        """Requests it works on at once."""
        ...


@runtime_checkable
class Restartable(Protocol):
    """An engine that may die, with its process or thread; opened again, it answers as before."""

    async def is_healthy(self) -> bool:
        """Whether it can answer at all."""
        ...
