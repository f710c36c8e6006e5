"""Trees of the depth-first strategy, derived by hand."""

from scripted_trees import Table, children, outcome, parent_of, texts

FAILING = dict.fromkeys("abcdefghijklmnopqrstu", "NNNNN")


def test_descends_into_the_best_child_first() -> None:
    # R -> a 0, b 0.2, c 0.4. Descend c -> d 0.2, e 0, f 0. Descend d -> g h i (depth 3). Then e -> j k l.
    # Then back to b -> m n o, of which n is right.
    votes = FAILING | {"b": "YNNNN", "c": "YYNNN", "d": "YNNNN", "n": "YYYYY"}
    result = Table(children("R:abc", "c:def", "d:ghi", "e:jkl", "b:mno"), votes).search(strategy="dfs")
    assert outcome(result) == ("accepted", "n")
    assert texts(result) == "Rabcdefghijklmno"
    assert [parent_of(result, letter) for letter in "adgjm"] == ["R", "c", "d", "e", "b"]
    assert [n.depth for n in result.nodes] == [0] + [1] * 3 + [2] * 3 + [3] * 6 + [2] * 3
    assert result.tree.nodes_expanded == 15


def test_acceptance_comes_before_descent() -> None:
    votes = FAILING | {"a": "YYNNN", "e": "YYYNN", "f": "YYYYN"}
    result = Table(children("R:abc", "a:def"), votes).search(strategy="dfs")
    assert outcome(result) == ("accepted", "f")
    assert texts(result) == "Rabcdef"


def test_the_budget_ends_a_full_search() -> None:
    # Without a budget: 3 + 2*3 + 4*3 = 21. With 15, R a d e are expanded and then b.
    table = children("R:abc", "a:def", "d:ghi", "e:jkl", "b:mno", "m:pqr", "n:stu")
    result = Table(table, FAILING).search(strategy="dfs")
    assert (result.tree.stop_reason, result.tree.nodes_expanded, texts(result)) == ("budget", 15, "Rabcdefghijklmno")
    result = Table(table, FAILING).search(strategy="dfs", node_budget=21)
    assert (result.tree.stop_reason, texts(result)) == ("depth", "Rabcdefghijklmnopqrstu")


def test_a_branch_that_dies_goes_back_to_the_next_one() -> None:
    # all rewrites of a repeat it; then b is expanded
    votes = FAILING | {"d": "YYYYY"}
    result = Table(children("R:abc", "a:aaa", "b:def"), votes).search(strategy="dfs")
    assert outcome(result) == ("accepted", "d")
    assert texts(result) == "Rabcaaadef"


def test_every_branch_dead() -> None:
    result = Table(children("R:abc", "a:aaa", "b:bbb"), FAILING).search(strategy="dfs")
    assert (result.tree.stop_reason, texts(result)) == ("exhausted", "Rabcaaabbb")
