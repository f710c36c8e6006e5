"""Pages of evaluation."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
