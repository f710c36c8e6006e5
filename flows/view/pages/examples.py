"""Pages of examples."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
