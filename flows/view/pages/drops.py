"""The page of drops: what entered a stage and did not leave it, with its text where the home still knows it."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister, of_run, values_of
from flows.view.reader import Reader
from flows.view.rendering import reader_of, render
from storage import places

LISTER = Lister(
    "SELECT * FROM drops",
    [
        Choice("q", "Detail holds", "detail ILIKE ? ESCAPE '\\'", like=True),
        *of_run("drops"),
        Choice("stage", "Stage", "stage = ?", values_of("stage", "drops")),
        Choice("reason", "Reason", "reason = ?", values_of("reason", "drops")),
    ],
    {"newest": "run_id, iteration DESC, stage, reason, record_id"},
    "/drops",
)
# Where a record's text may be: the table, its id, the text, and the prompt or tree it is shown with.
_TEXTS = (
    ("responses", "response_id", "text", "prompt_id"),
    ("tree_nodes", "node_id", "response", "tree_id"),
    ("prompts", "prompt_id", "text", "prompt_id"),
    ("preference_pairs", "pair_id", "chosen", "pair_id"),
    ("refiner_examples", "example_id", "list_last(messages).content", "example_id"),
)


def drops(request: Request) -> Response:
    """Counts by stage and reason, then the rows."""
    reader = reader_of(request)
    listing = LISTER.asked(request, reader)
    sql, parameters = LISTER.filtered(listing.values, request)
    counts = reader.rows(
        f"SELECT stage, reason, count(*) AS n FROM ({sql}) GROUP BY ALL ORDER BY n DESC, stage, reason LIMIT 40",
        parameters,
    )
    texts = _texts(reader, [row["record_id"] for row in listing.page.rows])
    return render(request, "drops.html", {"listing": listing, "lister": LISTER, "counts": counts, "texts": texts})


def _texts(reader: Reader, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Text and address of the records that are still known."""
    found: dict[str, tuple[str, str]] = {}
    for table, key, text, place in _TEXTS:
        missing = [name for name in ids if name not in found]
        if not missing:
            break
        for row in reader.rows(
            f"SELECT DISTINCT {key} AS id, {text} AS text, {place} AS place FROM {table} WHERE list_contains(?, {key})",
            [missing],
        ):
            found[row["id"]] = (row["text"], _place(table, row["id"], row["place"]))
    return found


def _place(table: str, name: str, place: str) -> str:
    return {
        "responses": lambda: places.response(place, name),
        "tree_nodes": lambda: places.tree(place, name),
        "prompts": lambda: places.prompt(name),
        "preference_pairs": lambda: places.pair(name),
        "refiner_examples": lambda: places.example(name),
    }[table]()


ROUTES: list[BaseRoute] = [Route("/drops", drops)]
