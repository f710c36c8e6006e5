"""Pages of drops."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
