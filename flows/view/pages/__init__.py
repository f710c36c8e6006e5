"""The pages of `spar view`: one file per kind of thing, each with the routes it answers."""

from starlette.routing import BaseRoute

from flows.view.pages import drops, evaluation, examples, items, models, pairs, prompts, report, runs, trees

ROUTES: list[BaseRoute] = [
    *report.ROUTES,
    *runs.ROUTES,
    *trees.ROUTES,
    *prompts.ROUTES,
    *pairs.ROUTES,
    *examples.ROUTES,
    *drops.ROUTES,
    *evaluation.ROUTES,
    *items.ROUTES,
    *models.ROUTES,
]
