"""A run's report, made when it is asked for: the file that `spar report` writes."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from flows.view.rendering import missing, reader_of


def report(request: Request) -> Response:
    """A run as one page. Its own policy holds in place of that of the other pages: its style and script are in it."""
    from flows.reporting.page import report_of_run

    reader, name = reader_of(request), request.path_params["run_id"]
    if reader.one("SELECT run_id FROM runs WHERE run_id = ?", [name]) is None:
        raise missing(f"no run {name} in this home")
    page = report_of_run(reader, name, view="")
    policy = f"{page.policy}; frame-ancestors 'none'"
    return HTMLResponse(page.html, headers={"Content-Security-Policy": policy})


ROUTES: list[BaseRoute] = [Route("/runs/{run_id}/report", report)]
