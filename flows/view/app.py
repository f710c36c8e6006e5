"""The web application of `spar view`: addresses, and what it refuses."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from flows.view.pages import ROUTES
from flows.view.reader import Reader
from flows.view.rendering import View, render, templates
from flows.view.tree_truth import TreeTruth
from spar_core.errors import StorageError
from storage.home import Home

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_COOKIE = "spar-view"
_HEADERS = {
    # What a model wrote can be anything: no script, style or picture but the package's own is ever loaded.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(home: Home, token: str | None = None) -> Starlette:
    """The application over one home. Without a token it answers on loopback names alone.

    Args:
        home: what it shows; never written to but for scratch of queries.
        token: asked of every visitor, once (`?token=`), then kept in a cookie.

    Raises:
        StorageError: the home cannot be read.
    """
    reader = Reader(home)
    truth = TreeTruth(reader)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> Any:
        yield
        truth.close()
        reader.close()

    guards = [Middleware(BaseHTTPMiddleware, dispatch=_guard(token))]
    if token is None:
        # Another name for this machine would be a page elsewhere that wants to read it (DNS rebinding).
        guards.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK)))
    with resources.as_file(resources.files("flows.view") / "static") as static:
        files = Mount("/static", StaticFiles(directory=Path(static)), name="static")
    app = Starlette(
        routes=[*ROUTES, files],
        middleware=guards,
        exception_handlers={HTTPException: _refused, StorageError: _unreadable},
        lifespan=lifespan,
    )
    app.state.view = View(reader, templates(), truth)
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return render(request, "error.html", {"title": str(error.status_code), "said": error.detail}, error.status_code)


def _unreadable(request: Request, error: Exception) -> Response:
    return render(request, "error.html", {"title": "The home cannot be read", "said": str(error)}, 500)


def _guard(token: str | None) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("this is read-only", 405)
        if token is None:
            return _headed(await go_on(request))
        shown = request.query_params.get("token")
        if shown is not None and secrets.compare_digest(shown.encode(), token.encode()):
            # The token leaves the address at once: addresses are shared, and kept in histories.
            clean = request.url.remove_query_params("token")
            answer: Response = RedirectResponse(clean.path + (f"?{clean.query}" if clean.query else ""), 303)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return _headed(answer)
        kept = request.cookies.get(_COOKIE, "")
        if secrets.compare_digest(kept.encode(), token.encode()):
            return _headed(await go_on(request))
        return _headed(PlainTextResponse("open the address that `spar view` printed, with its token", 401))

    return guard


def _headed(answer: Response) -> Response:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer
