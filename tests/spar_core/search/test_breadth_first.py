"""Trees of the breadth-first strategy, derived by hand."""

from scripted_trees import Table, children, node, outcome, parent_of, root_of, texts

FAILING = dict.fromkeys("abcdefghijklmno", "NNNNN")


def test_accepts_the_best_child_of_the_first_level() -> None:
    # values a 0.6, b 0.8, c 0.4: b is best and above one half
    table = Table(children("R:abc"), {"a": "YYYNN", "b": "YYYYN", "c": "YYNNN"})
    result = table.search()
    assert outcome(result) == ("accepted", "b")
    assert texts(result) == "Rabc"
    assert [n.accepted for n in result.nodes] == [False, False, True, False]
    assert result.tree.accepted_node_id == result.nodes[2].node_id
    assert table.asked == [("refine", "R", 3), ("judge", "a", 5), ("judge", "b", 5), ("judge", "c", 5)]
    assert [vote.verdict.value[0] for vote in result.votes] == list("YYYNNYYYYNYYNNN")


def test_beam_and_depth() -> None:
    # Level 1: a 0, b 0.4, c 0.2 -> beam b, c. Level 2: b -> d 0.2, e 0.4, f 0; c -> g 0.4, h 0, i 0.
    # e and g tie at 0.4, equally far from the root -> beam e (earlier), g. Level 3: e -> jkl, g -> mno; m 0.8.
    votes = FAILING | {"b": "NNNYY", "c": "NNNNY", "d": "YNNNN", "e": "YYNNN", "g": "YYNNN", "m": "YYYNY"}
    result = Table(children("R:abc", "b:def", "c:ghi", "e:jkl", "g:mno"), votes).search()
    assert outcome(result) == ("accepted", "m")
    assert texts(result) == "Rabcdefghijklmno"
    assert [n.depth for n in result.nodes] == [0] + [1] * 3 + [2] * 6 + [3] * 6
    assert [n.visit_order for n in result.nodes] == list(range(16))
    assert [parent_of(result, letter) for letter in "adgjm"] == ["R", "b", "c", "e", "g"]
    assert result.tree.nodes_expanded == 15


def test_a_full_search_is_exactly_the_budget() -> None:
    # 3 + 2*3 + 2*3 = 15: with budget 15 the depth ends the search, with 14 the budget cuts the last expansion off
    table = children("R:abc", "a:def", "b:ghi", "d:jkl", "e:mno")
    full = Table(table, FAILING).search()
    assert (full.tree.stop_reason, full.tree.nodes_expanded, texts(full)) == ("depth", 15, "Rabcdefghijklmno")
    cut = Table(table, FAILING)
    result = cut.search(node_budget=14)
    assert (result.tree.stop_reason, result.tree.nodes_expanded, texts(result)) == ("budget", 14, "Rabcdefghijklmn")
    assert ("refine", "e", 2) in cut.asked


def test_children_made_with_the_last_of_the_budget_may_be_accepted() -> None:
    result = Table(children("R:abc", "a:def", "b:ghi"), FAILING | {"g": "YYYYY"}).search(node_budget=7)
    assert outcome(result) == ("accepted", "g")
    assert texts(result) == "Rabcdefg"


def test_budget_spent_exactly_at_a_level_ends_the_next_one() -> None:
    result = Table(children("R:abc"), FAILING).search(node_budget=3)
    assert (result.tree.stop_reason, result.tree.nodes_expanded) == ("budget", 3)


def test_a_value_at_the_threshold_is_not_accepted() -> None:
    rewrites, votes = children("R:abc"), FAILING | {"a": "YYYNN"}  # a has value 0.6
    assert outcome(Table(rewrites, votes).search(accept_above=0.6, max_depth=1)) == ("depth", None)
    assert outcome(Table(rewrites, votes).search(accept_above=0.59, max_depth=1)) == ("accepted", "a")


def test_a_node_is_expanded_with_the_critique_of_its_first_agreeing_vote() -> None:
    table = Table(children("R:abc", "a:def", "b:ghi"), FAILING | {"a": "YNYNN", "b": "NNNNY", "d": "YYYYY"})
    result = table.search(max_depth=2)
    reviews = {
        request.messages[-1].content.split("\nReview:\n")[1]
        for request in table.engine.requests
        if "\nReview:\n" in request.messages[-1].content
    }
    assert reviews == {"it fails", "a N1\nFinal verdict: NO", "b N0\nFinal verdict: NO"}
    assert node(result, "a").critique == "a N1\nFinal verdict: NO"
    assert node(result, "d").critique == "d Y0\nFinal verdict: YES"


def test_the_last_level_may_be_the_first() -> None:
    result = Table(children("R:a"), {"a": "NNNNN"}).search(branch=1, max_depth=1)
    assert (result.tree.stop_reason, texts(result)) == ("depth", "Ra")


def test_a_right_root_needs_no_search() -> None:
    table = Table({}, {})
    result = table.search(root=root_of("R", value=0.8))
    assert outcome(result) == ("root_accepted", "R")
    assert (result.tree.nodes_expanded, table.asked, result.votes) == (0, [], ())


def test_a_root_without_value_is_searched() -> None:
    result = Table(children("R:abc"), FAILING | {"a": "YYYYY"}).search(root=root_of("R", value=None))
    assert outcome(result) == ("accepted", "a")
    assert result.nodes[0].value is None


def test_the_best_node_of_a_search_that_failed() -> None:
    table = Table(children("R:abc"), FAILING | {"b": "YYNNN"})
    assert table.search(max_depth=1).best.response == "b"
    assert table.search(max_depth=1, root=root_of("R", value=0.4)).best.response == "R"
