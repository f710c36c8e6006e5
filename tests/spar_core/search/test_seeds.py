"""Seeds of a search follow from the root and the path in the tree: searches of other choices share their beginning."""

import asyncio

import pytest
from scripted_trees import OURS, Table, children, root_of

from spar_core.config.method import SearchConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.prompts import PromptLibrary
from spar_core.roles import Refiner, format_rewrite
from spar_core.search import SearchResult, run_trees

CHOICES = {
    "bfs": {},
    "dfs": {"strategy": "dfs"},
    "chain": {"strategy": "chain"},
    "one rewrite": OURS.search.one_rewrite().model_dump(),
    "a small budget": {"node_budget": 2},
    "a wide beam": {"beam_width": 5, "branch": 5},
}


def drawing_engine() -> ScriptedEngine:
    """Rewrites and votes as a sampling model draws them: by the request's seed and the completion's number."""

    def answer(request: GenerationRequest, index: int) -> str:
        if request.messages[-1].content.startswith("Check every rule."):
            return f"Final verdict: {'YES' if (request.seed + index) % 3 == 0 else 'NO'}"
        return format_rewrite(f"rewrite {request.seed}:{index}")

    return ScriptedEngine(answer)


def searched(response: str = "R", run_seed: int = 0, **choices: object) -> SearchResult:
    refiner = Refiner(drawing_engine(), PromptLibrary.load("starter"), OURS.judging, OURS.refinement)
    config = SearchConfig(**{**OURS.search.model_dump(), **choices})

    async def run() -> SearchResult:
        return await anext(run_trees([root_of(response)], refiner, config, run_seed))

    return asyncio.run(run())


@pytest.mark.parametrize("choice", CHOICES)
def test_every_strategy_and_budget_has_the_same_first_rewrite_with_the_same_votes(choice):
    usual, other = searched(), searched(**CHOICES[choice])
    first, again = usual.nodes[1], other.nodes[1]
    assert (first.response, first.seed, first.value) == (again.response, again.seed, again.value)
    mine = [(vote.critique, vote.seed) for vote in usual.votes if vote.response_id == first.node_id]
    assert mine
    assert mine == [(vote.critique, vote.seed) for vote in other.votes if vote.response_id == again.node_id]


def test_ids_tell_the_trees_of_two_configurations_apart():
    usual, other = searched(), searched(strategy="dfs")
    assert usual.tree.tree_id != other.tree.tree_id
    assert {node.node_id for node in usual.nodes}.isdisjoint(node.node_id for node in other.nodes)


def test_other_roots_and_other_runs_draw_otherwise():
    seeds = {searched().nodes[1].seed, searched("S").nodes[1].seed, searched(run_seed=1).nodes[1].seed}
    assert len(seeds) == 3


def test_no_two_places_of_a_tree_share_a_seed():
    # Nothing is accepted: 3 rewrites of the root and 3 of each of two nodes on two levels, one request each.
    failing = dict.fromkeys("abcdefghijklmno", "NNNNN")
    tree = Table(children("R:abc", "a:def", "b:ghi", "c:jkl", "d:mno", "e:jkl", "g:mno", "h:jkl"), failing).search()
    requests = {(node.parent_id, node.seed) for node in tree.nodes[1:]}
    assert len(tree.nodes) == 16
    assert len(requests) == len({seed for _, seed in requests}) == 5
    votes = {(vote.response_id, vote.seed) for vote in tree.votes}
    assert len(votes) == len({seed for _, seed in votes})
