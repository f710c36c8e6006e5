"""Pages of prompts: the list, and one prompt with all its answers and what was made of them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister, of_run, values_of
from flows.view.reader import Reader
from flows.view.rendering import missing, reader_of, render
from flows.view.rules import is_right, rules_of
from flows.view.trained import trained_on_prompt

_BOTH = "(SELECT *, 'self-play' AS used FROM prompts UNION ALL BY NAME SELECT *, 'measuring' AS used FROM eval_prompts)"
LISTER = Lister(
    f"SELECT DISTINCT ON (prompt_id, run_id, iteration, used) * FROM {_BOTH}",
    [
        Choice("q", "Text holds", "text ILIKE ? ESCAPE '\\'", like=True),
        *of_run(_BOTH),
        Choice("used", "Used for", "used = ?", values_of("used", _BOTH)),
        Choice("source", "Source", "source = ?", values_of("source", _BOTH)),
        Choice(
            "kind",
            "Constraint",
            "list_contains(list_transform(constraints, lambda c: c.kind), ?)",
            f"SELECT DISTINCT c.kind AS value FROM (SELECT unnest(constraints) AS c FROM {_BOTH}) ORDER BY 1",
        ),
    ],
    {
        "newest": "run_id, iteration DESC, used DESC, prompt_id",
        "longest": "length(text) DESC, prompt_id, run_id, iteration, used",
    },
    "/prompts",
)


def prompts(request: Request) -> Response:
    """The list of prompts, with how their answers fared."""
    reader = reader_of(request)
    listing = LISTER.asked(request, reader)
    ids = [row["prompt_id"] for row in listing.page.rows]
    fared = reader.rows(
        "SELECT r.prompt_id, r.run_id, r.iteration, count(*) AS answers, count(*) FILTER (j.verdict = 'YES') AS yes, "
        "count(*) FILTER (j.verdict = 'NO') AS no FROM responses r LEFT JOIN judgements j "
        "USING (run_id, iteration, response_id) WHERE r.prompt_id IN (SELECT unnest(?)) GROUP BY ALL",
        [ids],
    )
    by_place = {(row["prompt_id"], row["run_id"], row["iteration"]): row for row in fared}
    return render(request, "prompts.html", {"listing": listing, "lister": LISTER, "fared": by_place})


def prompt(request: Request) -> Response:
    """One prompt: every answer with its votes, the trees, pairs and examples made of it, the models that learned."""
    reader, name = reader_of(request), request.path_params["prompt_id"]
    found = reader.one(f"SELECT * FROM {_BOTH} WHERE prompt_id = ?", [name])
    if found is None:
        raise missing(f"no prompt {name} in this home")
    before, after = LISTER.neighbours(request, reader, "prompt_id", name)
    answers = _answers(reader, found)
    shown = {
        "prompt": found,
        "rules": rules_of(found),
        "answers": answers,
        "measured": _measured(reader, found),
        "trees": reader.rows(
            "SELECT DISTINCT ON (tree_id) * FROM trees WHERE prompt_id = ? ORDER BY tree_id, run_id, iteration", [name]
        ),
        "pairs": reader.rows(
            "SELECT DISTINCT pair_id, run_id, iteration, chosen FROM preference_pairs WHERE prompt_id = ? "
            "ORDER BY run_id, iteration, pair_id LIMIT 200",
            [name],
        ),
        "learned": trained_on_prompt(reader, name),
        "previous": before,
        "next": after,
        "listed": LISTER.asked_query(request),
    }
    return render(request, "prompt.html", shown)


def _answers(reader: Reader, prompt: dict[str, Any]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """Answers of self-play by run and iteration, each with `judgement`, `votes`, `rules` and `right`."""
    rows = reader.rows(
        "SELECT r.*, j.verdict, j.value, j.yes_votes, j.no_votes, j.unparseable_votes, j.anchored, "
        "coalesce(nullif(j.votes_of, ''), r.response_id) AS votes_of FROM responses r "
        "LEFT JOIN judgements j USING (run_id, iteration, response_id) WHERE r.prompt_id = ? "
        "ORDER BY r.run_id, r.iteration, r.sample_index LIMIT 200",
        [prompt["prompt_id"]],
    )
    votes: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for vote in reader.rows(
        "SELECT * FROM votes WHERE response_id IN (SELECT unnest(?)) ORDER BY vote_index",
        [[row["votes_of"] for row in rows]],
    ):
        votes.setdefault((vote["run_id"], vote["iteration"], vote["response_id"]), []).append(vote)
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        place = (row["run_id"], row["iteration"])
        rules = rules_of(prompt, row["text"])
        known = {"votes": votes.get((*place, row["votes_of"]), []), "rules": rules, "right": is_right(rules)}
        found.setdefault(place, []).append(row | known)
    return found


def _measured(reader: Reader, prompt: dict[str, Any]) -> list[dict[str, Any]]:
    """Answers to a prompt of the measurement, with the checker's verdicts."""
    rows = reader.rows(
        "SELECT DISTINCT ON (response_id) * FROM eval_responses WHERE prompt_id = ? ORDER BY response_id, iteration "
        "LIMIT 200",
        [prompt["prompt_id"]],
    )
    rows.sort(key=lambda row: (row["run_id"], row["iteration"] or 0, row["sample_index"]))
    judged = [(row, rules_of(prompt, row["text"])) for row in rows]
    return [row | {"rules": rules, "right": is_right(rules)} for row, rules in judged]


ROUTES: list[BaseRoute] = [Route("/prompts", prompts), Route("/prompts/{prompt_id}", prompt)]
