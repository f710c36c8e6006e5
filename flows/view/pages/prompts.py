"""Pages of prompts."""

from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = []
