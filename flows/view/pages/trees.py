"""Pages of trees."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
