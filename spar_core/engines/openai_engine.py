"""An engine that asks OpenAI-compatible chat-completion servers over HTTP."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx

from spar_core.engines.base import Completion, Generation, GenerationRequest
from spar_core.engines.chat_answer import (
    NoSystemRoleError,
    OutputLimitError,
    RetryableError,
    check_status,
    read_answer,
)
from spar_core.engines.chat_format import merge_system
from spar_core.engines.endpoint_router import Endpoint, EndpointRouter
from spar_core.engines.usage import EngineStats, UsageMeter
from spar_core.errors import EngineError, EngineUnavailableError, RequestRejectedError
from spar_core.hashing import derive_seed, digest

_CONNECT_TIMEOUT_S = 10.0
_LONGEST_WAIT_S = 60.0
_UNUSABLE_ANSWERS = 3  # attempts at an answer that came but cannot be read
_IDENTIFYING_FIELDS = ("id", "root", "parent", "max_model_len")


class OpenAIEngine:
    """Completes chats through one or several servers that serve the same model.

    Sample i of a request depends on (seed, i) as far as the server honours `seed`; vLLM gives its i-th
    choice the seed + i. A server that ignores `n` is recognised by its first answer and from then on asked
    `n` times, with seed + i. One whose chat template refuses system messages gets them merged into the
    first user turn.

    Args:
        base_urls: addresses, with or without the trailing /v1.
        model: name under which the servers serve it.
        api_key: sent as bearer token, if any.
        timeout_s: seconds one attempt may take.
        max_concurrency: requests in flight per server (and event loop).
        max_retries: attempts after the first one, over all servers together.
        backoff_s: wait before the first retry; doubles with each, with a jitter derived from the request.
        model_digest: identity of the weights. Without it, a digest of the model's name and what the first
            server says of it: identity by name, which new weights under an old name do not change.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_concurrency: int = 256,
        max_retries: int = 6,
        backoff_s: float = 0.5,
        model_digest: str | None = None,
    ) -> None:
        if not base_urls:
            raise EngineError("no server address is given: set base_urls")
        self._urls = [_with_version(url) for url in base_urls]
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S), pool=None)
        self._max_concurrency = max_concurrency
        self._max_retries = max_retries
        self._backoff_s = backoff_s
        self._digest = model_digest
        self._encrypted = any(url.startswith("https") for url in self._urls)  # certificates take a while to load
        self._meter = UsageMeter()
        self._lock = threading.Lock()
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._closed = False
        self._answered = 0
        self._ignores_n = False
        self._most_tokens = sys.maxsize
        self._merges_system = False

    @property
    def model_digest(self) -> str:
        """The digest given, else one of the model's name and description at the first server that answers.

        Raises:
            EngineUnavailableError: no server answers.
            EngineError: the servers answer, but do not serve the model.
        """
        if self._digest is None:
            self._digest = self._digest_by_name()
        return self._digest

    @property
    def stats(self) -> EngineStats:
        """Requests, tokens and seconds so far."""
        return self._meter.stats

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request.

        Raises:
            RequestRejectedError: reason "prompt_too_long", "content_filter", "malformed_answer",
                "empty_choice", "chat_template", "http_4xx"; or "http_500" where only this request fails.
            EngineUnavailableError: no server answered after all retries.
            EngineError: wrong address, key or model name, or the engine is closed.
        """
        with self._meter.in_flight():
            if request.sampling.temperature == 0 and request.n > 1:
                # All samples of a greedy request are one and the same; vLLM even refuses to be asked for several.
                completions, prompt_tokens = await self._attempts(request, request.seed, 1)
                generation = Generation(tuple(completions) * request.n, prompt_tokens)
            elif self._ignores_n and request.n > 1:
                generation = await self._one_by_one(request, [])
            else:
                completions, prompt_tokens = await self._attempts(request, request.seed, request.n)
                generation = Generation(tuple(completions), prompt_tokens)
                if len(completions) < request.n:
                    self._ignores_n = True
                    generation = await self._one_by_one(request, completions)
        self._meter.add(generation)
        return generation

    async def close(self) -> None:
        """Close the connections of every event loop that still runs."""
        with self._lock:
            self._closed = True
            lines = list(self._lines.items())
            self._lines.clear()
        here = asyncio.get_running_loop()
        for loop, line in lines:
            if loop is here:
                await line.client.aclose()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(line.client.aclose(), loop)

    async def _one_by_one(self, request: GenerationRequest, have: list[Completion]) -> Generation:
        """The samples still missing, each as a request of its own."""
        answers = await asyncio.gather(
            *(self._attempts(request, request.seed + index, 1) for index in range(len(have), request.n))
        )
        completions = [*have, *(completions[0] for completions, _ in answers)]
        return Generation(tuple(completions), max((tokens for _, tokens in answers), default=0))

    async def _attempts(self, request: GenerationRequest, seed: int, n: int) -> tuple[list[Completion], int]:
        """The one place where anything is retried."""
        line = self._line()
        failure, avoid, answered = RetryableError("never asked"), None, self._answered
        limit = min(request.sampling.max_tokens, self._most_tokens)
        for attempt in range(self._max_retries + 1):
            merged = self._merges_system
            body = self._body(request, seed, n)
            body["max_tokens"] = limit
            async with line.router.endpoint(avoid) as endpoint:
                try:
                    return await self._ask(line.client, endpoint, body, n)
                except NoSystemRoleError as error:
                    if merged:
                        raise RequestRejectedError(str(error), reason="chat_template") from error
                    self._merges_system = True
                    continue
                except OutputLimitError as error:
                    if not 0 < error.allowed < limit:
                        raise RequestRejectedError(str(error), reason="prompt_too_long") from error
                    limit, self._most_tokens = error.allowed, min(self._most_tokens, error.context)
                    continue
                except RetryableError as error:
                    failure, avoid = error, endpoint
                except httpx.HTTPError as error:
                    failure, avoid = RetryableError(f"{endpoint.url}: {_kind(error)}"), endpoint
                    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                        endpoint.down_until = time.monotonic() + self._wait(request, seed, attempt)
            if failure.reason is not None and attempt + 1 >= _UNUSABLE_ANSWERS:
                break
            if attempt < self._max_retries and (failure.reason is not None or not line.router.other_is_up(endpoint)):
                await asyncio.sleep(max(failure.after_s, self._wait(request, seed, attempt)))
        raise self._verdict(failure, attempt + 1, self._answered > answered) from failure

    def _verdict(self, failure: RetryableError, attempts: int, others_answered: bool) -> EngineError:
        """Whose fault it was that no attempt worked: the request's, or the servers'."""
        if failure.reason is not None:
            return RequestRejectedError(f"no usable answer in {attempts} attempts: {failure}", failure.reason)
        if failure.crashed and others_answered:
            return RequestRejectedError(f"the server fails on this request alone: {failure}", "http_500")
        return EngineUnavailableError(
            f"no answer in {attempts} attempts from {', '.join(self._urls)} (last: {failure}). "
            "Check that the servers run, then run again: finished work is kept"
        )

    async def _ask(
        self, client: httpx.AsyncClient, endpoint: Endpoint, body: dict[str, Any], n: int
    ) -> tuple[list[Completion], int]:
        response = await client.post(f"{endpoint.url}/chat/completions", json=body)
        endpoint.down_until = 0.0
        try:
            content = response.json()
        except ValueError as error:
            check_status(response.status_code, response.headers, response.text, endpoint.url)
            raise RetryableError(f"{endpoint.url} sent no JSON", reason="malformed_answer") from error
        check_status(response.status_code, response.headers, content, endpoint.url)
        answer = read_answer(content, n)
        self._answered += 1
        return answer

    def _body(self, request: GenerationRequest, seed: int, n: int) -> dict[str, Any]:
        messages = merge_system(request.messages) if self._merges_system else request.messages
        return {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "max_tokens": request.sampling.max_tokens,
            "seed": seed,
            "n": n,
        }

    def _wait(self, request: GenerationRequest, seed: int, attempt: int) -> float:
        """Seconds: exponential, times a jitter in [0.5, 1) that the request itself determines."""
        jitter = 0.5 + derive_seed(seed, "retry-jitter", request.key(""), attempt) / 2**32
        return float(min(self._backoff_s * 2**attempt, _LONGEST_WAIT_S) * jitter)

    def _line(self) -> "_Line":
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise EngineError("the engine is closed: open it again")
            line = self._lines.get(loop)
            if line is None:
                connections = self._max_concurrency * len(self._urls)
                line = self._lines[loop] = _Line(
                    httpx.AsyncClient(
                        headers=self._headers,
                        timeout=self._timeout,
                        verify=self._encrypted,
                        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
                    ),
                    EndpointRouter(self._urls, self._max_concurrency),
                )
            return line

    def _digest_by_name(self) -> str:
        failures = []
        for url in self._urls:
            try:
                response = httpx.get(
                    f"{url}/models", headers=self._headers, timeout=_CONNECT_TIMEOUT_S, verify=self._encrypted
                )
                check_status(response.status_code, response.headers, response.text, url)
                served = {entry["id"]: entry for entry in response.json()["data"]}
            except (httpx.HTTPError, RetryableError, ValueError, KeyError, TypeError) as error:
                failures.append(f"{url}: {_kind(error)}")
                continue
            if self._model not in served:
                raise EngineError(f"{url} does not serve {self._model!r}, only {sorted(served)}: correct model")
            description = {name: served[self._model].get(name) for name in _IDENTIFYING_FIELDS}
            return digest(["served by name", self._model, description])
        raise EngineUnavailableError(f"no server answers ({'; '.join(failures)}): check that they run")


class _Line:
    """What one event loop holds: its connections and its view of the servers."""

    def __init__(self, client: httpx.AsyncClient, router: EndpointRouter) -> None:
        self.client = client
        self.router = router


def api_key_from(variable: str | None) -> str | None:
    """The key in an environment variable; None where no variable is named.

    Raises:
        EngineError: the variable is named but not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise EngineError(f"environment variable {variable} (api_key_env) is not set: export the server's key in it")
    return key


def _with_version(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise EngineError(f"{url!r} is no server address: give one like http://localhost:8000/v1")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def _kind(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()
