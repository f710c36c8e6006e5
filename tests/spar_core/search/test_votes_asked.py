"""`votes_asked: until_decided`: the search finds what it finds with all votes, whatever they say."""

import asyncio
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_trees import Table, children, root_of

from spar_core.config.method import JudgingConfig, RefinementConfig, SearchConfig
from spar_core.engines.base import GenerationRequest
from spar_core.engines.scripted import ScriptedEngine
from spar_core.hashing import derive_seed
from spar_core.prompts import PromptLibrary
from spar_core.records import Vote
from spar_core.roles import Refiner, format_rewrite
from spar_core.search import SearchResult, run_trees
from spar_core.search.shares import Share, Uses, unsettled_best, unsettled_choice

VERDICTS = {"Y": "Final verdict: YES", "N": "Final verdict: NO", "U": "I cannot say."}
DECISIONS = Uses(accepted=False, best=False, shares=False)
LIBRARY = PromptLibrary.load("starter")


def drawing_engine(odds: str, texts: int) -> ScriptedEngine:
    """Votes drawn from the letters of `odds`, rewrites from `texts` different ones: by seed and number alone."""

    def answer(request: GenerationRequest, index: int) -> str:
        draw = derive_seed(request.seed, "draw", request.messages[-1].content, index)
        if request.messages[-1].content.startswith("Check every rule."):
            return f"vote {request.seed}:{index}\n{VERDICTS[odds[draw % len(odds)]]}"
        return format_rewrite("x" * (draw % texts + 1))

    return ScriptedEngine(answer)


def searched(
    judging: JudgingConfig, search: SearchConfig, uses: Uses, odds: str, texts: int, seed: int
) -> tuple[SearchResult, int]:
    engine = drawing_engine(odds, texts)
    refiner = Refiner(engine, LIBRARY, judging, RefinementConfig())

    async def run() -> SearchResult:
        return await anext(run_trees([root_of("R", 0.2)], refiner, search, seed, uses=uses))

    return asyncio.run(run()), engine.completions


def by_node(votes: tuple[Vote, ...]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote.response_id].append(vote)
    return found


@st.composite
def judgings(draw: st.DrawFn) -> JudgingConfig:
    votes = draw(st.integers(1, 8))
    return JudgingConfig(
        votes=votes,
        quorum=draw(st.integers(1, votes)),
        max_reasks=draw(st.integers(0, 2)),
        tie=draw(st.sampled_from(["reask", "one_more", "drop"])),
    )


@st.composite
def searches(draw: st.DrawFn) -> SearchConfig:
    return SearchConfig(
        strategy=draw(st.sampled_from(["bfs", "dfs", "chain"])),
        branch=draw(st.integers(1, 4)),
        beam_width=draw(st.integers(1, 3)),
        max_depth=draw(st.integers(1, 3)),
        node_budget=draw(st.integers(1, 15)),
        accept_above=draw(st.sampled_from([0.3, 0.5, 0.7, 0.9])),
        selection=draw(st.sampled_from(["greedy", "proportional"])),
        tie_break=draw(st.sampled_from(["closest", "earliest"])),
        detect_duplicates=draw(st.booleans()),
        cache_values=draw(st.booleans()),
        max_reasks=draw(st.sampled_from([None, 1])),
    )


@settings(max_examples=120, deadline=None)
@given(
    judging=judgings(),
    search=searches(),
    uses=st.builds(Uses, accepted=st.booleans(), best=st.booleans(), shares=st.just(False)),
    odds=st.sampled_from(["NNNNY", "NNYU", "YN", "NNNU", "NNNNNNNY", "YYN"]),
    texts=st.integers(1, 30),
    seed=st.integers(0, 10_000),
)
def test_fewer_votes_make_the_same_search(judging, search, uses, odds, texts, seed):
    whole, all_asked = searched(judging, search, uses, odds, texts, seed)
    spared, fewer_asked = searched(
        judging, search.model_copy(update={"votes_asked": "until_decided"}), uses, odds, texts, seed
    )
    assert replace(spared.tree, engine_seconds=0.0) == replace(whole.tree, engine_seconds=0.0)
    kept = ("node_id", "parent_id", "response", "critique", "duplicate_of", "accepted", "failure", "completion_tokens")
    assert [[getattr(n, k) for k in kept] for n in spared.nodes] == [[getattr(n, k) for k in kept] for n in whole.nodes]
    assert [n.value is None for n in spared.nodes] == [n.value is None for n in whole.nodes]
    if uses.best:
        assert spared.best.node_id == whole.best.node_id
    if uses.accepted and whole.accepted:
        assert spared.accepted == whole.accepted
    of_all = by_node(whole.votes)
    for node_id, votes in by_node(spared.votes).items():
        asked = [replace(vote, prompt_tokens=0) for vote in of_all.pop(node_id)]  # read anew for a second step
        assert [replace(vote, prompt_tokens=0) for vote in votes] == asked[: len(votes)]
    assert not of_all
    lacking = sum(node.votes_spared for node in spared.nodes if not (node.duplicate_of and node.value is not None))
    assert fewer_asked == len(spared.votes) + (all_asked - len(whole.votes))
    assert len(whole.votes) - len(spared.votes) == lacking


def test_where_the_tree_feeds_shares_every_vote_is_asked():
    table = Table(children("R:abc"), {"a": "YYYYY", "b": "NNNNN", "c": "NNNNN"})
    tree = table.search(votes_asked="until_decided")
    assert [node.votes_spared for node in tree.nodes] == [0, 0, 0, 0]
    assert [n for kind, _, n in table.asked if kind == "judge"] == [5, 5, 5]


@pytest.mark.parametrize(
    ("votes", "asked"),
    [
        # a wins with any rest; b and c stay below one half with any rest.
        ({"a": "YYYYY", "b": "NNNNN", "c": "NNNYY"}, {"a": 3, "b": 3, "c": 3}),
        # b has 3 of 5, which a could have as well: both are counted out; c cannot.
        ({"a": "YYYNN", "b": "YYNYN", "c": "NNNNN"}, {"a": 5, "b": 5, "c": 3}),
        # b is NO at 2 of 5 at most, once its rest is asked.
        ({"a": "YYYNN", "b": "NYNNN", "c": "NNNNN"}, {"a": 3, "b": 5, "c": 3}),
        # Two cannot be read: the third step is a whole further round.
        ({"a": "YYYYY", "b": "UUUNN NNNNN", "c": "NNNNN"}, {"a": 3, "b": 10, "c": 3}),
    ],
)
def test_votes_are_asked_until_the_best_child_is_certain(votes, asked):
    table = Table(children("R:abc"), votes)
    engine_votes: dict[str, int] = defaultdict(int)

    async def run() -> SearchResult:
        search = SearchConfig(votes_asked="until_decided")
        return await anext(run_trees([root_of("R")], table.refiner(), search, 0, uses=DECISIONS))

    tree = asyncio.run(run())
    for kind, response, n in table.asked:
        if kind == "judge":
            engine_votes[response] += n
    assert tree.accepted is not None
    assert tree.accepted.response == "a"
    assert engine_votes == asked


@pytest.mark.parametrize(
    ("shares", "ranked", "exact_winner", "unsettled"),
    [
        ([(0.6, 1.0), (0.0, 0.4)], True, False, []),
        ([(0.6, 1.0), (0.0, 0.4)], True, True, [0]),
        ([(0.6, 1.0), (0.6, 0.6)], True, False, [0]),
        ([(0.6, 1.0), (0.6, 1.0), (0.0, 0.4)], True, False, [0, 1]),
        ([(0.0, 0.4), (0.2, 0.2)], True, False, [0]),
        ([(0.0, 0.4), (0.2, 0.2)], False, True, []),
        ([(0.0, 0.4)], True, True, []),
    ],
)
def test_spared_votes_matter_where_they_could_change_the_choice(shares, ranked, exact_winner, unsettled):
    given_shares = [Share(*share) for share in shares]
    assert unsettled_choice(given_shares, 0.5, ranked=ranked, exact_winner=exact_winner) == unsettled


@pytest.mark.parametrize(
    ("shares", "unsettled"),
    [
        ([(0.2, 0.2), (0.0, 0.4)], [1]),
        ([(0.4, 0.4), (0.0, 0.4)], []),  # the first of equals is the best
        ([(0.0, 0.4), (0.4, 0.4)], [0]),
        ([(0.6, 1.0), (0.0, 0.4)], []),
        ([], []),
    ],
)
def test_spared_votes_matter_where_they_could_make_another_node_the_best(shares, unsettled):
    assert unsettled_best([Share(*share) for share in shares]) == unsettled
