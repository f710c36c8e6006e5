"""The connections of one engine to its servers; lives on the engine loop."""

import asyncio
import json
import logging
import resource
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import aiohttp

from spar_core.engines.chat_answer import RetryableError
from spar_core.engines.configuration import ServedSettings
from spar_core.engines.endpoint_router import Endpoint, EndpointRouter
from spar_core.engines.server_address import is_on_this_machine, proxy_for
from spar_core.engines.throttle import Throttle
from spar_core.secrets import redacted_text

_LOG = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 10.0
_KEPT_OPEN_S = 4.0  # below uvicorn's five seconds, so that a request does not meet a connection that is being closed
_DNS_CACHE_S = 60
_REFUSAL_HERE_S = 0.1  # more than a refusal takes to come, the connection's establishment included
_REFUSAL_ELSEWHERE_S = 0.5
_OTHER_DESCRIPTORS = 256  # files, pipes and databases of the rest of the process


Writing = Callable[[str], Coroutine[Any, Any, bool]]


class Reply(NamedTuple):
    """What came back: `body` is the parsed JSON, else (`is_json` false) the text."""

    status: int
    headers: Mapping[str, str]
    body: Any
    is_json: bool


# What to call once the request of the task has a connection; tracing tells it too, for a tenth more CPU per request.
_sent: ContextVar[Callable[[], None] | None] = ContextVar("sent", default=None)


class _Connector(aiohttp.TCPConnector):
    async def connect(self, *request: Any, **options: Any) -> Any:
        connection = await super().connect(*request, **options)
        tell = _sent.get()
        if tell is not None:
            tell()
        return connection


class HttpLine:
    """A client and the view of the servers; to be made, used and closed on one event loop.

    aiohttp's cost per request does not grow with the connections (httpx walks them all twice for each request).

    Args:
        urls: addresses with version.
        headers: of every request.
        settings: of the engine.
        first_pause_s: what a busy server gets that names no time.
        writing: whether the server at an address is at work on anybody's answer; then `timeout_s` is how often that is
            asked, and a request ends when it is not. None: a request may take `timeout_s`.

    Raises:
        EngineError: the environment's proxy can't be used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        headers: Mapping[str, str],
        settings: ServedSettings,
        first_pause_s: float,
        writing: Writing | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.calls = 0
        self._proxies = {url: proxy_for(url) for url in urls}
        most = _affordable(settings.max_concurrency, len(urls))
        self.router = EndpointRouter(
            [Endpoint(url, Throttle(most, first_pause_s, settings.max_pause_s, _refusal_takes_s(url))) for url in urls]
        )
        self._timeout_s = settings.timeout_s
        self._writing = writing
        self._seen_writing: dict[str, asyncio.Task[bool]] = {}
        connecting = min(settings.timeout_s, _CONNECT_TIMEOUT_S)
        whole = settings.timeout_s if writing is None else None
        self._session = aiohttp.ClientSession(
            headers={"Content-Type": "application/json", **headers},
            connector=_Connector(limit=0, keepalive_timeout=_KEPT_OPEN_S, ttl_dns_cache=_DNS_CACHE_S),
            timeout=aiohttp.ClientTimeout(total=whole, sock_connect=connecting),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, path: str, body: Any, sent: Callable[[], None]) -> Reply:
        """Send JSON; `sent` is called when it goes out on a connection.

        Raises:
            RetryableError: no answer, or none in time.
        """
        self.calls += 1
        _sent.set(sent)
        sending = self._send(url, path, json.dumps(body).encode())
        try:
            return await (sending if self._writing is None else self._while_writing(url, sending))
        except aiohttp.ConnectionTimeoutError as error:
            raise RetryableError(f"{url}: ConnectTimeout, no connection within {_CONNECT_TIMEOUT_S:.0f} s") from error
        except TimeoutError as error:
            raise RetryableError(f"{url}: Timeout, no answer within {self._timeout_s:g} s", timed_out=True) from error
        except (aiohttp.ClientError, OSError) as error:
            said = redacted_text(f"{url}: {type(error).__name__} {error}".strip())  # a proxy's address has its password
            raise RetryableError(said) from error

    async def _send(self, url: str, path: str, content: bytes) -> Reply:
        proxy = self._proxies[url]
        async with self._session.post(url + path, data=content, proxy=proxy, allow_redirects=False) as response:
            received = await response.read()
        try:
            return Reply(response.status, response.headers, json.loads(received), True)
        except ValueError:
            return Reply(response.status, response.headers, received.decode("utf-8", "replace"), False)

    async def _while_writing(self, url: str, sending: Coroutine[Any, Any, Reply]) -> Reply:
        """The reply, however long it takes, as long as the server writes.

        Raises:
            TimeoutError: it does not.
        """
        task = asyncio.ensure_future(sending)
        try:
            while not (await asyncio.wait({task}, timeout=self._timeout_s))[0]:
                if not await self._is_writing(url):
                    raise TimeoutError
            return task.result()
        finally:
            task.cancel()

    async def _is_writing(self, url: str) -> bool:
        """One look at a server for all requests that wait for it."""
        assert self._writing is not None
        seen = self._seen_writing.get(url)
        if seen is None or seen.done():
            seen = self._seen_writing[url] = asyncio.ensure_future(self._writing(url))
        return await asyncio.shield(seen)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def _refusal_takes_s(url: str) -> float:
    return _REFUSAL_HERE_S if is_on_this_machine(url) else _REFUSAL_ELSEWHERE_S


def _affordable(wanted: int, servers: int) -> int:
    """Connections per server for which this process may open enough sockets; the soft limit is raised if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * servers + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    affordable = max(1, (soft - min(_OTHER_DESCRIPTORS, soft // 2)) // servers)
    _LOG.warning(
        "max_concurrency %d of %d servers needs %d open files, `ulimit -n` allows %d: %d requests in flight per server",
        *(wanted, servers, needed, soft, affordable),
    )
    return affordable
