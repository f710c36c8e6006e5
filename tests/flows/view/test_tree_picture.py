"""Where the nodes of a tree stand."""

from flows.view.tree_picture import path_to, tree_picture


def _node(name, parent, depth, order, **changed):
    return {
        "node_id": name,
        "parent_id": parent,
        "depth": depth,
        "visit_order": order,
        "yes_votes": 1,
        "no_votes": 4,
        "unparseable_votes": 0,
        "value": 0.2,
        "accepted": False,
        "failure": None,
        "duplicate_of": None,
    } | changed


_NODES = [
    _node("root", None, 0, 0),
    _node("a", "root", 1, 1),
    _node("b", "root", 1, 2, failure="no_form", value=None),
    _node("c", "a", 2, 3, accepted=True, yes_votes=5, no_votes=0, value=1.0),
    _node("d", "a", 2, 4, duplicate_of="a", value=None),
]


def test_no_two_nodes_share_a_place_and_parents_stand_above_their_children():
    spots = {spot.node_id: spot for spot in tree_picture(_NODES).spots}
    assert len({(spot.x, spot.y) for spot in spots.values()}) == 5
    assert spots["c"].x < spots["d"].x < spots["b"].x
    assert spots["a"].x == (spots["c"].x + spots["d"].x) / 2
    assert spots["root"].x == (spots["a"].x + spots["b"].x) / 2
    assert spots["root"].y < spots["a"].y == spots["b"].y < spots["c"].y


def test_the_way_to_the_accepted_node_is_marked():
    picture = tree_picture(_NODES, chosen="b")
    marks = {spot.node_id: spot.marks.split() for spot in picture.spots}
    assert [name for name in marks if "path" in marks[name]] == ["root", "a", "c"]
    assert sum(line.marks == "accepted" for line in picture.lines) == 2
    assert {"chosen", "failed"} <= set(marks["b"])
    assert "accepted" in marks["c"]
    assert {spot.node_id: spot.label for spot in picture.spots} == {
        "root": "1/5",
        "a": "1/5",
        "b": "\u00d7",
        "c": "5/5",
        "d": "=",
    }
    assert path_to(_NODES, "c") == ["root", "a", "c"]


def test_a_deep_chain_and_nothing_at_all():
    chain = [_node(str(n), str(n - 1) if n else None, n, n) for n in range(3000)]
    picture = tree_picture(chain)
    assert len({spot.x for spot in picture.spots}) == 1
    assert len(picture.lines) == 2999
    assert tree_picture([]).spots == []
