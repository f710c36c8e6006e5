"""Pages of pairs."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
