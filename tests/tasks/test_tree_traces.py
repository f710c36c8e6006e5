"""Which trees MLflow shows, and how."""

from spar_core.records import Tree
from tasks.tree_traces import chosen_trees


def _tree(name: str, nodes: int, accepted: bool) -> Tree:
    return Tree(name, "p", "r", "bfs", "accepted" if accepted else "budget", nodes, "n" if accepted else None, 0.5)


def test_half_of_the_trees_found_something_the_largest_first():
    trees = [_tree(f"a{n}", n, True) for n in range(5)] + [_tree(f"b{n}", n, False) for n in range(5)]
    assert [tree.tree_id for tree in chosen_trees(trees, 5)] == ["a4", "a3", "a2", "b4", "b3"]


def test_what_one_kind_lacks_the_other_gives():
    few_lost = [_tree(f"a{n}", n, True) for n in range(5)] + [_tree("b", 9, False)]
    assert [tree.tree_id for tree in chosen_trees(few_lost, 4)] == ["a4", "a3", "a2", "b"]
    few_found = [_tree(f"b{n}", n, False) for n in range(5)] + [_tree("a", 0, True)]
    assert [tree.tree_id for tree in chosen_trees(few_found, 4)] == ["a", "b4", "b3", "b2"]
    assert len(chosen_trees(few_found, 40)) == 6
