"""A search tree as a picture: where its nodes stand and how they are joined. Templates draw it as SVG."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_ACROSS, _DOWN, _MARGIN = 50, 76, 30
_FAILED, _NOT_JUDGED = "\u00d7", "\u2013"


class Spot(NamedTuple):
    """A node of the picture: its centre in pixels, what it says, and its marks (CSS classes)."""

    node_id: str
    x: float
    y: float
    label: str
    order: int
    title: str
    marks: str


class Line(NamedTuple):
    """From a node to the one it was rewritten into."""

    x1: float
    y1: float
    x2: float
    y2: float
    marks: str


class Picture(NamedTuple):
    """A picture of `width` x `height` pixels."""

    width: float
    height: float
    spots: list[Spot]
    lines: list[Line]


def tree_picture(nodes: Sequence[Mapping[str, Any]], chosen: str | None = None) -> Picture:
    """Lay out a tree: depth downwards, leaves side by side in the order they were made, parents above their middle.

    Args:
        nodes: rows of `tree_nodes`, of one tree.
        chosen: the node that is looked at.
    """
    below: dict[str | None, list[Mapping[str, Any]]] = defaultdict(list)
    for node in sorted(nodes, key=lambda node: node["visit_order"]):
        below[node["parent_id"]].append(node)
    known = {node["node_id"]: node for node in nodes}
    path = _path(known, next((node["node_id"] for node in nodes if node["accepted"]), None))
    across: dict[str, float] = {}
    leaves = 0
    for node in reversed(_in_order(below)):  # children before their parents, the last leaf first
        children = [across[child["node_id"]] for child in below[node["node_id"]]]
        if not children:
            across[node["node_id"]] = -_ACROSS * leaves
            leaves += 1
        else:
            across[node["node_id"]] = sum((children[0], children[-1])) / 2
    left = min(across.values(), default=0.0)
    spots = [_spot(node, across[node["node_id"]] - left + _MARGIN, path, chosen) for node in _in_order(below)]
    places = {spot.node_id: spot for spot in spots}
    lines = [
        Line(places[parent].x, places[parent].y, spot.x, spot.y, "accepted" if spot.node_id in path else "")
        for spot in spots
        if (parent := known[spot.node_id]["parent_id"]) in places
    ]
    width = max((spot.x for spot in spots), default=0.0) + _MARGIN
    height = max((spot.y for spot in spots), default=0.0) + _MARGIN + 8
    return Picture(width, height, spots, lines)


def _path(known: Mapping[str, Mapping[str, Any]], node_id: str | None) -> list[str]:
    path: list[str] = []
    while node_id is not None and node_id in known and node_id not in path:
        path.append(node_id)
        node_id = known[node_id]["parent_id"]
    return path


def path_to(nodes: Sequence[Mapping[str, Any]], node_id: str) -> list[str]:
    """Ids from the root to a node."""
    return _path({node["node_id"]: node for node in nodes}, node_id)[::-1]


def _in_order(below: Mapping[str | None, list[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    ordered: list[Mapping[str, Any]] = []
    waiting = list(reversed(below.get(None, [])))
    while waiting:
        node = waiting.pop()
        ordered.append(node)
        waiting.extend(reversed(below.get(node["node_id"], [])))
    return ordered


def _spot(node: Mapping[str, Any], x: float, path: Sequence[str], chosen: str | None) -> Spot:
    votes = node["yes_votes"] + node["no_votes"] + node["unparseable_votes"]
    marks = [
        "root" if node["parent_id"] is None else "",
        "accepted" if node["accepted"] else "",
        "path" if node["node_id"] in path else "",
        "failed" if node["failure"] else "",
        "duplicate" if node["duplicate_of"] else "",
        "chosen" if node["node_id"] == chosen else "",
        _shade(node["value"]),
    ]
    if node["failure"]:
        label, said = _FAILED, f"failed: {node['failure']}"
    elif node["duplicate_of"] and node["value"] is None:
        label, said = "=", "a text that was seen before"
    elif votes:
        label, said = f"{node['yes_votes']}/{votes}", f"{node['yes_votes']} of {votes} votes say yes"
    else:
        label, said = _NOT_JUDGED if node["value"] is None else f"{node['value']:.1f}", "not judged"
    order = node["visit_order"]
    what = "failing answer" if node["parent_id"] is None else f"rewrite {order}"
    y = _MARGIN + node["depth"] * _DOWN
    return Spot(node["node_id"], x, y, label, order, f"{what}: {said}", " ".join(filter(None, marks)))


def _shade(value: float | None) -> str:
    return "" if value is None else f"value-{round(4 * value)}"
