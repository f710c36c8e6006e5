"""The published choices, one golden tree each (SPaR, arXiv 2412.11605, and the authors' released code)."""

from scripted_trees import Table, children, node, outcome, paper, root_of, texts, truncated

from spar_core.engines.base import Completion

FAILING = dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "NNNNN")
PAPER = paper()
NO_ANSWER = Completion("I cannot.", "stop", 3)


def test_limits_are_the_published_ones() -> None:
    search, judging = PAPER.search, PAPER.judging
    assert (search.branch, search.beam_width, search.max_depth, search.node_budget) == (3, 2, 3, 15)
    assert (search.accept_above, search.selection) == (0.5, "greedy")
    assert (judging.votes, judging.temperature, judging.top_p, judging.max_tokens) == (5, 0.7, 1.0, 2048)
    assert (PAPER.refinement.temperature, PAPER.refinement.top_p, PAPER.refinement.max_tokens) == (0.7, 1.0, 3072)
    assert (PAPER.responses.per_prompt, PAPER.responses.temperature, PAPER.responses.top_p) == (5, 0.9, 0.9)


def test_the_root_counts_as_zero_and_is_always_searched() -> None:
    result = Table(children("R:abc"), FAILING | {"b": "YYYYY"}).search(method=PAPER, root=root_of("R", value=0.8))
    assert outcome(result) == ("accepted", "b")
    assert result.nodes[0].value == 0.0


def test_ties_go_to_the_earliest_child() -> None:
    rewrites = {"one two": ["three", "one twox", "four"]}
    result = Table(rewrites, dict.fromkeys(["three", "one twox", "four"], "YYYYN")).search(
        method=PAPER, root=root_of("one two")
    )
    assert outcome(result) == ("accepted", "three")


def test_duplicates_are_judged_like_any_child() -> None:
    table = Table(children("R:Rab"), FAILING | {"R": "YYYYN", "a": "YYYNN"})
    result = table.search(method=PAPER)
    assert outcome(result)[0] == "accepted"
    accepted = result.accepted
    assert accepted is not None
    assert (accepted.response, accepted.visit_order, accepted.duplicate_of) == ("R", 1, None)


def test_a_truncated_rewrite_may_be_accepted() -> None:
    result = Table({"R": [truncated("a"), "b", "c"]}, FAILING | {"a": "YYYYY"}).search(method=PAPER)
    assert outcome(result) == ("accepted", "a")
    assert node(result, "a").finish_reason == "length"


def test_one_parseable_vote_decides_and_nothing_is_asked_again() -> None:
    table = Table(children("R:abc"), {"a": "UUYUU", "b": "YYYYN", "c": "NNNNN"})
    result = table.search(method=PAPER)
    assert outcome(result) == ("accepted", "a")
    assert node(result, "a").value == 1.0
    assert len([ask for ask in table.asked if ask[0] == "judge"]) == 3


def test_a_tie_or_no_parseable_vote_drops_the_child_at_once() -> None:
    table = Table(children("R:abc", "c:def"), FAILING | {"a": "YYNNU", "b": "UUUUU", "d": "YYYYY"})
    result = table.search(method=PAPER)
    assert outcome(result) == ("accepted", "d")
    assert [n.failure for n in result.nodes[1:4]] == ["judge:tie", "judge:quorum", None]


def test_a_failed_expansion_costs_no_budget() -> None:
    # Budget 5. Level 1: one of three fails -> 2 spent. Level 2 may make 3: a's d, e, f; then the budget is gone.
    table = {"R": ["a", NO_ANSWER, "c"], "a": "def", "c": "ghi"}
    result = Table(table, FAILING).search(method=PAPER, node_budget=5)
    assert (result.tree.stop_reason, texts(result), result.tree.nodes_expanded) == ("budget", "Racdef", 6)
    # ours: all three of level 1 cost, so that only d and e are made
    ours = Table(table, FAILING).search(node_budget=5)
    assert (ours.tree.stop_reason, texts(ours)) == ("budget", "Racde")


def test_budget_a_failure_left_over_goes_to_the_expansions_cut_off() -> None:
    # Budget 7: 3 at level 1, 4 left for six slots a0 a1 a2 b0 | b1 b2. a1 fails, so b1 is made too, not b2.
    table = {"R": "abc", "a": ["d", NO_ANSWER, "f"], "b": "ghi"}
    scripted = Table(table, FAILING)
    result = scripted.search(method=PAPER, node_budget=7)
    assert (result.tree.stop_reason, texts(result)) == ("budget", "Rabcdfgh")
    assert [ask for ask in scripted.asked if ask[0] == "refine"] == [
        ("refine", "R", 3),
        ("refine", "a", 3),
        ("refine", "b", 1),
        ("refine", "b", 1),
    ]


def test_free_failures_end_the_tree_all_the_same() -> None:
    for strategy in ("bfs", "dfs"):
        table = Table({"R": [NO_ANSWER] * 3}, {})
        result = table.search(method=PAPER, strategy=strategy)
        assert (result.tree.stop_reason, result.tree.nodes_expanded) == ("exhausted", 3)


def test_depth_first_with_the_published_choices() -> None:
    # R -> a 0.2, b 0.2, c 0: the tie goes to a, though b is closer to the root; a -> d (truncated) 0.6, accepted.
    rewrites = {"xyz": ["a", "xyb", "c"], "a": [truncated("d"), "e", "f"]}
    votes = FAILING | {"a": "YNNNN", "xyb": "YNNNN", "d": "YYYNN"}
    result = Table(rewrites, votes).search(method=PAPER, strategy="dfs", root=root_of("xyz"))
    assert outcome(result) == ("accepted", "d")
    assert [n.response for n in result.nodes] == ["xyz", "a", "xyb", "c", "d", "e", "f"]
