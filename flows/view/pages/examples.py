"""Pages of the refiner's supervised examples."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister, of_run, values_of
from flows.view.reader import Reader
from flows.view.rendering import missing, reader_of, render
from flows.view.trained import trained_on_artifact

LISTER = Lister(
    "SELECT DISTINCT ON (example_id, run_id, iteration) *, list_last(messages).content AS learned "
    "FROM refiner_examples",
    [
        Choice(
            "q",
            "Chat holds",
            "list_contains(list_transform(messages, lambda m: m.content ILIKE ? ESCAPE '\\'), true)",
            like=True,
        ),
        *of_run("refiner_examples"),
        Choice("kind", "Teaches", "kind = ?", values_of("kind", "refiner_examples")),
        Choice("source", "Made from", "source = ?", values_of("source", "refiner_examples")),
    ],
    {"newest": "run_id, iteration DESC, example_id", "longest": "length(learned) DESC, example_id, run_id, iteration"},
    "/examples",
)


def examples(request: Request) -> Response:
    """The list of examples."""
    return render(request, "examples.html", {"listing": LISTER.asked(request, reader_of(request)), "lister": LISTER})


def example(request: Request) -> Response:
    """One example: the chat it teaches."""
    reader, name = reader_of(request), request.path_params["example_id"]
    found = reader.one("SELECT * FROM refiner_examples WHERE example_id = ?", [name])
    if found is None:
        raise missing(f"no example {name} in this home")
    before, after = LISTER.neighbours(request, reader, "example_id", name)
    models = trained_on_artifact(reader, found["stage_key"])
    shown = {"example": found, "vote": _vote(reader, found), "models": models, "previous": before, "next": after}
    return render(request, "example.html", {**shown, "listed": LISTER.asked_query(request)})


def _vote(reader: Reader, example: Mapping[str, Any]) -> int | None:
    """Index of the vote that a judgement teaches: the first on its text that says the same; null where none does."""
    table = "tree_votes" if example["tree_id"] else "votes"
    found = reader.one(
        f"SELECT min(vote_index) AS first FROM {table} WHERE response_id = ? AND critique = ?",
        [example["text_id"], example["messages"][-1]["content"]],
    )
    first: int | None = None if found is None else found["first"]
    return first


ROUTES: list[BaseRoute] = [Route("/examples", examples), Route("/examples/{example_id}", example)]
