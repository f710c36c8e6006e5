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


def test_a_tie_or_no_parseable_vote_is_voted_on_anew_up_to_three_times_and_then_the_node_vanishes() -> None:
    votes = FAILING | {"a": "YYNNU YNUUU UUUUU", "b": "UUUUU YYYYN", "c": "YNUUU UUUUU YNNNN", "d": "YYYYY"}
    table = Table(children("R:abc"), votes)
    result = table.search(method=PAPER)
    assert [n.failure for n in result.nodes[1:]] == ["judge:quorum", None, None]
    assert [n.value for n in result.nodes[1:]] == [None, 0.8, 0.2]
    # the last round alone counts
    assert (node(result, "b").yes_votes, node(result, "b").unparseable_votes) == (4, 0)
    assert (node(result, "c").yes_votes, node(result, "c").no_votes) == (1, 4)
    assert [ask[1] for ask in table.asked if ask[0] == "judge"].count("a") == 3
    assert outcome(result) == ("accepted", "b")
    # every vote of every round stays recorded
    assert [vote.vote_index for vote in result.votes if vote.response_id == node(result, "c").node_id] == [*range(15)]


def test_a_failed_expansion_costs_no_budget() -> None:
    # Budget 5. Level 1: one of three fails nine times -> 2 spent. Level 2 may make 3: a's d, e, f; then it is gone.
    table = {"R": ["a", NO_ANSWER, "c", *[NO_ANSWER] * 8], "a": "def", "c": "ghi"}
    result = Table(table, FAILING).search(method=PAPER, node_budget=5)
    assert (result.tree.stop_reason, texts(result), result.tree.nodes_expanded) == ("budget", "Racdef", 14)
    # ours: all three of level 1 cost, so that only d and e are made
    ours = Table(table, FAILING).search(node_budget=5)
    assert (ours.tree.stop_reason, texts(ours)) == ("budget", "Racde")


def test_a_rewrite_without_markers_is_asked_for_up_to_nine_times() -> None:
    # a fails twice, then comes; c never does. Both start after b in the tree, numbered on from it.
    table = Table({"R": [NO_ANSWER, "b", NO_ANSWER, NO_ANSWER, NO_ANSWER, "a", *[NO_ANSWER] * 7]}, FAILING)
    result = table.search(method=PAPER, max_depth=1)
    assert texts(result) == "Rba"
    assert [n.failure for n in result.nodes[1:]].count("no_answer") == 2 + 9
    asked = [ask for ask in table.asked if ask[0] == "refine"]
    assert asked == [("refine", "R", 3), ("refine", "R", 2), ("refine", "R", 2), *[("refine", "R", 1)] * 6]
    assert len({request.seed for request in table.engine.requests if request.n < 4}) == len(asked)
    # a rewrite that is cut before its first marker has none either, one that is cut behind it may be judged
    cut = Table({"R": [Completion("I will", "length", 3), truncated("b"), "c", "d"]}, FAILING)
    assert texts(cut.search(method=PAPER, max_depth=1)) == "Rbcd"


def test_an_identical_rewrite_is_not_judged_twice_and_has_the_same_value() -> None:
    # R -> a, a; the first a -> b, a; the second a -> c, d.
    table = Table(children("R:aa", "a:bacd"), FAILING | {"a": "YYNNN", "c": "YYYYY"})
    result = table.search(method=PAPER, branch=2)
    assert (outcome(result), texts(result)) == (("accepted", "c"), "Raabacd")
    assert [ask[1] for ask in table.asked if ask[0] == "judge"] == ["a", "b", "c", "d"]
    first = result.nodes[1]
    for twin in (result.nodes[2], result.nodes[4]):
        assert (twin.value, twin.critique, twin.duplicate_of) == (0.4, first.critique, first.node_id)
    assert {vote.response_id for vote in result.votes} == {node(result, letter).node_id for letter in "abcd"}
    # what made no majority is kept by no text: a second b is voted on again, a twin of the same level vanishes with it
    vanishing = Table(children("R:ab", "a:bb", "b:"), FAILING | {"a": "YNNNN", "b": "UUUUU UUUUU UUUUU NNNNN"})
    nodes = vanishing.search(method=PAPER, branch=2, beam_width=1, max_depth=2).nodes
    assert [n.value for n in nodes[1:]] == [0.2, None, 0.0, 0.0]
    twins = Table(children("R:bb"), {"b": "UUUUU"}).search(method=PAPER, branch=2).nodes[1:]
    assert [(n.value, n.failure) for n in twins] == [(None, "judge:quorum")] * 2
    # the root's own text is judged as any other: its value counts as 0, which no vote said
    again = Table(children("R:Rab"), FAILING | {"R": "YYYYN"}).search(method=PAPER)
    assert outcome(again) == ("accepted", "R")


def test_budget_a_failure_left_over_goes_to_the_expansions_cut_off() -> None:
    # Budget 7, one attempt: 3 at level 1, 4 left for six slots a0 a1 a2 b0 | b1 b2. a1 fails, so b1 is made, not b2.
    table = {"R": "abc", "a": ["d", NO_ANSWER, "f"], "b": "ghi"}
    scripted = Table(table, FAILING)
    result = scripted.search(method=PAPER, node_budget=7, rewrite_attempts=1)
    assert (result.tree.stop_reason, texts(result)) == ("budget", "Rabcdfgh")
    assert [ask for ask in scripted.asked if ask[0] == "refine"] == [
        ("refine", "R", 3),
        ("refine", "a", 3),
        ("refine", "b", 1),
        ("refine", "b", 1),
    ]
    # with more attempts a1 is asked for again before b goes on, and takes the budget
    table["a"] = ["d", NO_ANSWER, "f", "e"]
    again = Table(table, FAILING).search(method=PAPER, node_budget=7)
    assert (again.tree.stop_reason, texts(again)) == ("budget", "Rabcdfge")


def test_free_failures_end_the_tree_all_the_same() -> None:
    for strategy in ("bfs", "dfs"):
        table = Table({"R": [NO_ANSWER] * 27}, {})
        result = table.search(method=PAPER, strategy=strategy)
        assert (result.tree.stop_reason, result.tree.nodes_expanded) == ("exhausted", 27)


def test_depth_first_with_the_published_choices() -> None:
    # R -> a 0.2, b 0.2, c 0: the tie goes to a, though b is closer to the root; a -> d (truncated) 0.6, accepted.
    rewrites = {"xyz": ["a", "xyb", "c"], "a": [truncated("d"), "e", "f"]}
    votes = FAILING | {"a": "YNNNN", "xyb": "YNNNN", "d": "YYYNN"}
    result = Table(rewrites, votes).search(method=PAPER, strategy="dfs", root=root_of("xyz"))
    assert outcome(result) == ("accepted", "d")
    assert [n.response for n in result.nodes] == ["xyz", "a", "xyb", "c", "d", "e", "f"]
