"""Two prompt sets or two search settings: the same prompts answered, judged and searched with each, item by item.

Metrics, as means over answers unless said otherwise:

- `readable`: the share of the votes on an answer that ended with a verdict.
- `approved`: whether the majority said yes.
- `judge`: whether the majority agrees with the checker, where it knows; right and wrong answers weigh the same.
- `mended`, over prompts that both searched: whether the tree ended with an accepted rewrite.
- `right`: whether the checker, where it knows, calls right what came of the answer: its accepted rewrite, else itself.
"""

from collections.abc import Iterable, Sequence

from flows.comparing.sides import Side
from flows.search import SearchRequest, SearchTables, search
from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.truth import rule_verifier
from spar_core.records import Prompt, Response, Verdict
from spar_core.roles.anchor import Verifier


def searched_side(name: str, request: SearchRequest) -> Side:
    """One side: what `spar search` makes of the request, as measured items; what is there already is not made anew.

    Raises:
        SparError: a prompts file, model or server that cannot be used.
    """
    found = search(request)
    return Side(name, observations(found), _cost(found), request.configuration().model_dump(mode="json"))


def observations(found: SearchTables) -> dict[str, list[Observation]]:
    """The items of a search by metric; those that say nothing of any item are left out."""
    tables = found.artifacts
    prompts = {prompt.prompt_id: prompt for prompt in tables["prompts"].read("prompts")}
    answers: list[Response] = list(tables["responses"].read("responses"))
    trees = list(tables["trees"].read("trees"))
    accepted = {tree.accepted_node_id: tree.root_response_id for tree in trees if tree.accepted_node_id}
    became = {
        accepted[node.node_id]: node.response for node in tables["trees"].read("tree_nodes") if node.node_id in accepted
    }
    said = {judgement.response_id: judgement.verdict for judgement in tables["judgements"].read("judgements")}
    votes: dict[str, list[bool]] = {}
    for vote in tables["judgements"].read("votes"):
        votes.setdefault(vote.response_id, []).append(vote.verdict is not Verdict.UNPARSEABLE)
    items: dict[str, list[Observation]] = {
        "readable": [
            _item(answer, sum(votes[answer.response_id]) / len(votes[answer.response_id]))
            for answer in answers
            if answer.response_id in votes
        ],
        "approved": [_item(answer, said.get(answer.response_id) is Verdict.YES) for answer in answers],
        "mended": [Observation(tree.prompt_id, tree.prompt_id, float(bool(tree.accepted_node_id))) for tree in trees],
    }
    return {name: rows for name, rows in (items | _checked(prompts.values(), answers, said, became)).items() if rows}


def _checked(
    prompts: Iterable[Prompt], answers: Sequence[Response], said: dict[str, Verdict], became: dict[str, str]
) -> dict[str, list[Observation]]:
    """What a checker's word is needed for."""
    by_id = {prompt.prompt_id: prompt for prompt in prompts}
    verify = rule_verifier(by_id.values())
    judged, right = [], []
    for answer in answers:
        prompt = by_id[answer.prompt_id]
        first = _truth(verify, prompt, answer.text)
        if first is not None:
            judged.append(_item(answer, said.get(answer.response_id) is first, first))
        rewrite = became.get(answer.response_id)
        last = first if rewrite is None else _truth(verify, prompt, rewrite)
        if last is not None:
            right.append(_item(answer, last is Verdict.YES))
    return {"judge": judged, "right": right}


def _truth(verify: Verifier, prompt: Prompt, text: str) -> Verdict | None:
    """What the checker says of a text; null where it does not know every constraint."""
    checked = verify(prompt.text, text)
    return None if checked is None else checked.verdict


def _item(answer: Response, value: float, truth: str = "") -> Observation:
    """Answers of two sides are one item where they are the same sample of the same prompt, and equally right."""
    return Observation((answer.prompt_id, answer.sample_index, truth), answer.prompt_id, float(value), truth)


def _cost(found: SearchTables) -> dict[str, float]:
    counts = [artifact.manifest().metrics for artifact in found.artifacts.values()]
    return {
        "tokens read": sum(each.get("prompt_tokens", 0.0) for each in counts),
        "tokens written": sum(each.get("completion_tokens", 0.0) for each in counts),
    }
