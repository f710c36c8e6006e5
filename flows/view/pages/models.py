"""Pages of models."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
