"""Pages of preference pairs: what actors, and judges under some methods, learn from."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from flows.view.lists import Choice, Lister, of_run, values_of
from flows.view.rendering import missing, reader_of, render
from flows.view.rules import rules_of
from flows.view.trained import trained_on_artifact
from flows.view.word_diff import changed_words, word_diff

_ALL = """(
SELECT pair_id, run_id, iteration, stage_key, prompt_id, tree_id, prompt, chosen, rejected, value, chosen_cut,
       rejected_cut, 'actor' AS learner
FROM preference_pairs
UNION ALL BY NAME
SELECT pair_id, run_id, iteration, stage_key, prompt_id, tree_id, prompt, chosen, rejected, value, chosen_cut,
       rejected_cut, 'judge' AS learner
FROM judge_pairs
UNION ALL BY NAME
SELECT pair_id, run_id, iteration, stage_key, list_last(prompt).content AS prompt, chosen, rejected, chosen_cut,
       rejected_cut, source AS given, 'given' AS learner
FROM given_pairs)"""
_CUT = (("rejected", "the rejected text"), ("chosen", "the chosen text"), ("none", "neither"))
_IS_CUT = {"rejected": "rejected_cut", "chosen": "chosen_cut", "none": "NOT (rejected_cut OR chosen_cut)"}
LISTER = Lister(
    f"SELECT DISTINCT ON (pair_id, run_id, iteration) * FROM {_ALL}",
    [
        Choice("q", "Prompt holds", "prompt ILIKE ? ESCAPE '\\'", like=True),
        *of_run(_ALL),
        Choice("learner", "For", "learner = ?", values_of("learner", _ALL)),
        Choice("cut", "Cut at the token limit", "", fixed=_CUT, conditions=_IS_CUT),
    ],
    {"newest": "run_id, iteration DESC, pair_id", "longest": "length(chosen) DESC, pair_id, run_id, iteration"},
    "/pairs",
)


def pairs(request: Request) -> Response:
    """The list of pairs."""
    return render(request, "pairs.html", {"listing": LISTER.asked(request, reader_of(request)), "lister": LISTER})


def pair(request: Request) -> Response:
    """One pair: chosen against rejected, and where both come from."""
    reader, name = reader_of(request), request.path_params["pair_id"]
    found = reader.one(f"SELECT * FROM {_ALL} WHERE pair_id = ?", [name])
    if found is None:
        raise missing(f"no pair {name} in this home")
    before, after = LISTER.neighbours(request, reader, "pair_id", name)
    pieces = word_diff(found["rejected"], found["chosen"])
    # A judge's pair holds judgements: no constraint of the prompt is about them.
    answers = found["learner"] == "actor"
    prompt = reader.one("SELECT * FROM prompts WHERE prompt_id = ?", [found["prompt_id"]]) if answers else None
    models = trained_on_artifact(reader, found["stage_key"])
    shown: dict[str, Any] = {
        "pair": found,
        "diff": pieces,
        "changed": changed_words(pieces),
        "chosen_rules": [] if prompt is None else rules_of(prompt, found["chosen"]),
        "rejected_rules": [] if prompt is None else rules_of(prompt, found["rejected"]),
        "models": models,
        "previous": before,
        "next": after,
        "listed": LISTER.asked_query(request),
    }
    return render(request, "pair.html", shown)


ROUTES: list[BaseRoute] = [Route("/pairs", pairs), Route("/pairs/{pair_id}", pair)]
