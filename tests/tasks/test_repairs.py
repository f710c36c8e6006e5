"""What `refinement` takes for the mended text: the same two rules for a single rewrite and for a tree."""

from dataclasses import replace

import pytest

from spar_core.records import Tree, TreeNode
from spar_core.search import SearchResult
from tasks.repairs import _outcomes

ROOT = TreeNode("t", "r", None, 0, 0, "root", "", "", 0.2, 1, 4, 0, None, False, "stop", 0)


def rewrite(name: str, value: float | None, *, accepted: bool = False, failure: str | None = None) -> TreeNode:
    return replace(
        ROOT, node_id=name, parent_id="r", depth=1, response=name, value=value, accepted=accepted, failure=failure
    )


def found(way: str, *rewrites: TreeNode) -> dict[str, str | None]:
    tree = Tree("t", "p", "r", "bfs", "depth", len(rewrites), None, 0.0)
    outcomes = _outcomes(way, SearchResult(tree, (ROOT, *rewrites), ()))
    return {metric: None if node is None else node.response for metric, node in outcomes}


@pytest.mark.parametrize("way", ["single", "tree"])
def test_a_rewrite_refused_by_the_votes_is_used_where_it_is_liked_more_than_the_answer(way):
    said = found(way, rewrite("a", 0.4))
    assert (said[way], said[f"{way}_accepted"]) == ("a", None)


@pytest.mark.parametrize("way", ["single", "tree"])
def test_a_rewrite_liked_less_than_the_answer_is_not_used(way):
    said = found(way, rewrite("a", 0.0))
    assert (said[way], said[f"{way}_accepted"]) == ("root", None)


@pytest.mark.parametrize("way", ["single", "tree"])
def test_an_accepted_rewrite_counts_by_both_rules(way):
    said = found(way, rewrite("a", 0.8, accepted=True))
    assert (said[way], said[f"{way}_accepted"]) == ("a", "a")


def test_the_first_rewrite_counts_whatever_the_votes_say_of_it():
    assert found("single", rewrite("a", None))["first_rewrite"] == "a"
    assert found("single", rewrite("", None, failure="no_answer"))["first_rewrite"] is None
    assert "first_rewrite" not in found("tree", rewrite("a", None))


def test_nothing_searched_is_nothing_mended():
    assert _outcomes("tree", None) == [("tree", None), ("tree_accepted", None)]
