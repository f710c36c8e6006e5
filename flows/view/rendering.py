"""Rendering a page: the templates, and what every page has at hand."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flows.view import filters
from flows.view.reader import Reader
from flows.view.tree_truth import TreeTruth
from storage import places


class View(NamedTuple):
    """What pages have at hand: the home's rows, the templates, and what a checker says of its trees."""

    reader: Reader
    templates: Environment
    truth: TreeTruth


def templates() -> Environment:
    """The templates, with every value shown as text unless a template of ours says it is markup."""
    environment = Environment(
        loader=PackageLoader("flows.view"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters.FILTERS)
    environment.globals["places"] = places
    return environment


def view_of(request: Request) -> View:
    """What a page has at hand."""
    found: View = request.app.state.view
    return found


def reader_of(request: Request) -> Reader:
    """The rows of the home a page is about."""
    return view_of(request).reader


def render(request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
    """A template as an answer. `home` and `here` (the page's own address) are known to all."""
    view = view_of(request)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    shared = {"home": str(view.reader.home.root), "here": here, "path": request.url.path, "query": request.query_params}
    page = view.templates.get_template(template).render({**shared, **context})
    # JSON within a text can hold half a character, which has no UTF-8 form.
    return HTMLResponse(page.encode("utf-8", "replace"), status_code=status)


def missing(what: str) -> HTTPException:
    """What a page raises where there is nothing under its address."""
    return HTTPException(404, what)


def number_in(request: Request, name: str, default: int = 1) -> int:
    """A number of the address' query, for instance of a page; the default where it is none."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
