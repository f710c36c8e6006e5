"""Pages of runs and their iterations."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.rendering import missing, reader_of, render


def run_list(request: Request) -> Response:
    """All runs of the home, the latest first."""
    runs = reader_of(request).rows(
        "SELECT r.*, count(s.stage) AS stages, sum(s.seconds) AS seconds "
        "FROM runs r LEFT JOIN stages s USING (run_id) GROUP BY ALL ORDER BY created DESC"
    )
    return render(request, "runs.html", {"runs": runs})


def run(request: Request) -> Response:
    """One run: its iterations beside one another."""
    name = request.path_params["run_id"]
    reader = reader_of(request)
    found = reader.one("SELECT * FROM runs WHERE run_id = ?", [name])
    if found is None:
        raise missing(f"no run {name} in this home")
    stages = reader.rows("SELECT * FROM stages WHERE run_id = ? ORDER BY iteration, started", [name])
    return render(request, "run.html", {"run": found, "stages": stages})


ROUTES: list[BaseRoute] = [
    Route("/", run_list),
    Route("/runs", run_list),
    Route("/runs/{run_id}", run),
]
