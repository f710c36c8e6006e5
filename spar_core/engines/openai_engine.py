"""An engine that asks OpenAI-compatible chat-completion servers over HTTP."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

from spar_core.engines.base import Completion, Generation, GenerationRequest
from spar_core.engines.chat_answer import (
    BusyError,
    NoSystemRoleError,
    OutputLimitError,
    RefusedFieldError,
    RetryableError,
    check_status,
    is_passing,
    read_answer,
)
from spar_core.engines.choice_shares import with_shares
from spar_core.engines.configuration import ServedSettings
from spar_core.engines.effort import Effort
from spar_core.engines.endpoint_router import Place
from spar_core.engines.engine_loop import engine_loop, on_engine_loop
from spar_core.engines.http_line import HttpLine, Writing
from spar_core.engines.request_dialect import CHOOSING, RequestDialect
from spar_core.engines.server_address import with_version
from spar_core.engines.server_identity import describe
from spar_core.engines.thoughts import ThoughtRules
from spar_core.engines.usage import EngineStats, UsageMeter
from spar_core.errors import EngineError
from spar_core.hashing import digest
from spar_core.secrets import with_fields

_LOG = logging.getLogger(__name__)


class OpenAIEngine:
    """Completes chats through one or several servers that serve the same model.

    Sample i of a seed depends on (seed, i) as far as the server honours `seed`; vLLM gives its i-th
    choice the seed + i. A server that ignores or refuses `n` is recognised by its first answer and from then on asked
    `n` times, with seed + i. One whose chat template refuses system messages gets them merged into the
    first user turn; fields that a server does not take are left out (see `RequestDialect`).

    Connections, limits and back-off live on the process's engine loop and are shared by all callers, whatever event
    loop or thread they come from.

    Args:
        base_urls: addresses, with or without the trailing /v1.
        model: name under which the servers serve it.
        settings: timeouts, limits, patience, further fields.
        api_key: sent as bearer token, if any.
        model_digest: identity of the weights. Without it, a digest of the model's name and what the first
            server says of it: identity by name, which new weights under an old name do not change.
        backoff_s: wait before the first retry; doubles with each, with a jitter derived from the request.
        writing: see `HttpLine`.
        failed: told, on the engine loop, the address of a server that failed or took too long.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        model: str,
        settings: ServedSettings,
        *,
        api_key: str | None = None,
        model_digest: str | None = None,
        backoff_s: float = 0.5,
        writing: Writing | None = None,
        failed: Callable[[str], None] = lambda _url: None,
    ) -> None:
        if not base_urls:
            raise EngineError("no server address is given: set base_urls")
        self._urls = tuple(with_version(url) for url in base_urls)
        self._model = model
        self._settings = settings
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._backoff_s = backoff_s
        self._writing = writing
        self._failed = failed
        self._left_out = set[str]()
        self._digest = model_digest
        self._meter = UsageMeter()
        extra = with_fields(settings.extra_body, "extra_body")
        if settings.chat_template_kwargs:
            extra = {**extra, "chat_template_kwargs": settings.chat_template_kwargs}
        self._dialect = RequestDialect(model, settings.send_seed, extra)
        self._rules = settings.rules()
        self._line: HttpLine | None = None
        self._asking: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._answered = 0

    @property
    def model_digest(self) -> str:
        """The digest given, else one of the model's name and description at the first server that answers.

        Raises:
            EngineUnavailableError: no server answers.
            EngineError: the key is wrong, or what answers is no such server.
        """
        if self._digest is None:
            said = describe(self._urls, self._model, self._headers)
            self._digest = digest(["served by name", said.fields])
        return self._digest

    @property
    def stats(self) -> EngineStats:
        """Requests, tokens, seconds, HTTP calls and refusals so far."""
        line = self._line
        if line is None:
            return self._meter.stats
        refusals = sum(endpoint.throttle.refusals for endpoint in line.router.endpoints)
        return dataclasses.replace(self._meter.stats, calls=line.calls, refusals=refusals)

    @property
    def capacity(self) -> int:
        """Requests that its servers bear at once."""
        return self._settings.max_concurrency * (len(self._urls) - len(self._left_out))

    def set_open(self, url: str, is_open: bool) -> None:
        """Ask a server no more, or again; callable from any thread."""
        engine_loop().call_soon_threadsafe(self._set_open, url, is_open)

    async def generate(self, request: GenerationRequest) -> Generation:
        """Complete one request.

        Raises:
            RequestRejectedError: for good with reason "prompt_too_long", "content_filter", "chat_template"; for now
                with "malformed_answer", "empty_choice", "http_4xx"; or "http_500", "http_503", "timeout" where only
                this request fails.
            EngineUnavailableError: no server answered after all retries, or all refused for longer than max_wait_s.
            EngineError: wrong address, key or model name, a server that takes no such requests, or a closed engine.
        """
        return await on_engine_loop(self._until_closed(request))

    async def close(self) -> None:
        """Close the connections; what is being asked fails with EngineError."""
        self._closed = True
        await on_engine_loop(self._shut())  # there alone it is known whether a request is just opening the line

    async def _until_closed(self, request: GenerationRequest) -> Generation:
        """Run on the engine loop, so that closing the engine ends it with an error and not with a cancellation."""
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            return await self._generate(request)
        except asyncio.CancelledError:
            if task in self._ended and task.cancelling() == 1:  # not by its caller, who would not look at an error
                raise _closed() from None
            raise
        finally:
            self._asking.discard(task)
            self._ended.discard(task)

    async def _shut(self) -> None:
        here = asyncio.get_running_loop()
        asking = [task for task in self._asking if task.get_loop() is here]  # a fork inherits others, which never end
        self._ended.update(task for task in asking if not task.cancelling())
        for task in self._ended:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)  # also those whose caller has gone away meanwhile
        if self._line is not None:
            done = self.stats
            _LOG.info("%d requests in %d HTTP calls, %d of them put off", done.requests, done.calls, done.refusals)
        line, self._line = self._line, None
        if line is not None and line.loop is here:
            await line.close()

    def _open_line(self) -> HttpLine:
        """The connections; made by the first request, and anew in a forked process, which has another engine loop."""
        if self._closed:
            raise _closed()
        if self._line is None or self._line.loop is not asyncio.get_running_loop():
            self._line = HttpLine(self._urls, self._headers, self._settings, self._backoff_s, self._writing)
            for url in self._left_out:
                self._line.router.set_open(url, False)
        return self._line

    def _set_open(self, url: str, is_open: bool) -> None:
        (self._left_out.discard if is_open else self._left_out.add)(url)
        if self._line is not None and self._line.loop is asyncio.get_running_loop():
            self._line.router.set_open(url, is_open)

    async def _generate(self, request: GenerationRequest) -> Generation:
        seed = request.seed + request.first
        with self._meter.in_flight():
            if request.sampling.temperature == 0 and request.n > 1:
                # All samples of a greedy request are one and the same; vLLM even refuses to be asked for several.
                completions, prompt_tokens = await self._attempts(request, seed, 1)
                generation = Generation(tuple(completions) * request.n, prompt_tokens)
            elif self._dialect.asks_one_by_one and request.n > 1:
                generation = await self._one_by_one(request, [])
            else:
                completions, prompt_tokens = await self._attempts(request, seed, request.n)
                generation = Generation(tuple(completions), prompt_tokens)
                if len(completions) < request.n:
                    self._dialect.asks_one_by_one = True
                    generation = await self._one_by_one(request, completions)
        self._meter.add(generation)
        return generation

    async def _one_by_one(self, request: GenerationRequest, have: list[Completion]) -> Generation:
        """The samples still missing, each as a request of its own; once one of them fails, no more is asked."""
        missing = range(len(have), request.n)
        asked = [
            asyncio.ensure_future(self._attempts(request, request.seed + request.first + index, 1)) for index in missing
        ]
        try:
            answers = await asyncio.gather(*asked)
        finally:
            for task in asked:
                task.cancel()
        completions = [*have, *(completions[0] for completions, _ in answers)]
        return Generation(tuple(completions), max((tokens for _, tokens in answers), default=0))

    async def _attempts(self, request: GenerationRequest, seed: int, n: int) -> tuple[list[Completion], int]:
        """The one place where anything is asked again; fewer than `n` where the servers give one at a time."""
        line, answered = self._open_line(), self._answered
        limit = request.sampling.max_tokens + (self._settings.thought_tokens or 0)
        effort = Effort(self._settings, line.router, request, seed, self._backoff_s)
        while True:
            limit, wait = min(limit, self._dialect.most_tokens), 0.0
            body = self._dialect.body(request, seed, n, limit)
            async with line.router.place(effort.failed_at, effort.began, request.prefix) as place:
                try:
                    return await self._ask(line, place, body, n, request.choices)
                except BusyError as busy:
                    place.refused(busy.after_s)
                    effort.put_off(busy, self._answered > answered)
                except RetryableError as failure:
                    if failure.timed_out:
                        place.timed_out()
                    if failure.reason is None:
                        self._failed(place.endpoint.url)
                    wait = effort.failed(failure, place.endpoint, self._answered > answered)
                except OutputLimitError as error:
                    limit = effort.lowered(limit, error)
                    self._dialect.most_tokens = min(self._dialect.most_tokens, error.room.context)
                except NoSystemRoleError as error:
                    self._dialect.learn_merging(str(error), body)
                except RefusedFieldError as error:
                    self._dialect.learn(error.field, str(error), body)
                    if n > 1 and self._dialect.asks_one_by_one:
                        return [], 0
            if wait:
                await asyncio.sleep(wait)

    async def _ask(
        self, line: HttpLine, place: Place, body: dict[str, Any], n: int, choices: tuple[str, ...]
    ) -> tuple[list[Completion], int]:
        url = place.endpoint.url
        reply = await line.post(url, "/chat/completions", body, place.sent)
        if not is_passing(reply.status):
            place.answered()
        further = (*self._dialect.extra, *(CHOOSING if choices else ()))
        check_status(reply.status, reply.headers, reply.body, url, further)
        if not reply.is_json:
            raise RetryableError(f"{url} sent no JSON", reason="malformed_answer")
        if choices:
            chosen, prompt_tokens = read_answer(reply.body, n, ThoughtRules("none", ()))
            answer = (with_shares(chosen, reply.body, choices), prompt_tokens)
        else:
            answer = read_answer(reply.body, n, self._rules)
        self._answered += 1
        return answer


def _closed() -> EngineError:
    return EngineError("the engine is closed: open it again")
