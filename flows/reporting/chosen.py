"""Which of thousands of search trees a report shows: by a rule that anybody can apply again, not by hand."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flows.view.pages.trees import TreeReading, chosen_node, facts_of, read_trees
from flows.view.reader import Reader, Rows
from flows.view.rules import right_of
from flows.view.tree_picture import Picture, tree_picture

EACH = 3
_CHECKED = 300  # accepted rewrites that are checked to find right and wrong ones
_EXTREMES = 50  # that are looked at: some are taken already
_ACCEPTED = "accepted_node_id IS NOT NULL AND list_contains(?, run_id)"
_TEXT = 3000  # characters of one text in a report
_TEXTS = ("response", "reflection", "critique", "rewrite", "thought", "text")
KINDS = {
    "mended": "accepted, and the checker calls it right (or knows no rule for it)",
    "fooled": "accepted, but the checker calls it wrong",
    "deep": "accepted at the greatest depth",
    "in vain": "nothing was accepted after the most rewrites",
}
RULE = (
    f"Up to {EACH} trees of every kind. “mended” and “fooled” are drawn by the digest of the tree's id among the first "
    f"{_CHECKED} accepted ones in that order; “deep” and “in vain” are the extremes, ties by the same digest. "
    "No tree is shown twice."
)


class ChosenTree(NamedTuple):
    """A tree, why it was chosen, and everything that is shown of each of its nodes, texts cut to 3,000 characters."""

    kind: str
    found: TreeReading
    picture: Picture
    first: str
    """The node that is opened."""
    facts: dict[str, dict[str, Any]]
    depth: int | None
    """Of the accepted node."""


def chosen_trees(reader: Reader, run_ids: Sequence[str], each: int = EACH) -> list[ChosenTree]:
    """The trees that runs were trained on, by the rule: the first of every kind, then the second of every kind, ...

    Raises:
        StorageError: the home cannot be read.
    """
    drawn = _drawn(reader, run_ids)
    kinds: dict[str, Iterator[str]] = {
        "mended": (row["tree_id"] for row in drawn if _right(row) is not False),
        "fooled": (row["tree_id"] for row in drawn if _right(row) is False),
        "deep": iter(_deep(reader, run_ids)),
        "in vain": iter(_in_vain(reader, run_ids)),
    }
    taken: dict[str, str] = {}
    for _ in range(each):
        for kind, ids in kinds.items():
            fresh = next((tree_id for tree_id in ids if tree_id not in taken), None)
            if fresh is not None:
                taken[fresh] = kind
    return list(_read(reader, taken))


def _drawn(reader: Reader, run_ids: Sequence[str]) -> Rows:
    """Accepted rewrites with what a checker needs."""
    return reader.rows(
        "SELECT t.tree_id, n.response, p.constraints, p.source FROM "
        f"(SELECT DISTINCT tree_id, prompt_id, accepted_node_id, stage_key FROM trees WHERE {_ACCEPTED} "
        f"ORDER BY md5(tree_id), stage_key LIMIT {_CHECKED}) t "
        "JOIN (SELECT DISTINCT stage_key, tree_id, node_id, response FROM tree_nodes WHERE accepted) n "
        "ON n.stage_key = t.stage_key AND n.tree_id = t.tree_id AND n.node_id = t.accepted_node_id "
        "LEFT JOIN (SELECT prompt_id, any_value(constraints) AS constraints, any_value(source) AS source FROM prompts "
        "GROUP BY prompt_id) p ON p.prompt_id = t.prompt_id ORDER BY md5(t.tree_id), t.stage_key",
        [list(run_ids)],
    )


def _right(row: dict[str, Any]) -> bool | None:
    """The checker's word on an accepted rewrite, found when it is asked for."""
    if "right" not in row:
        row["right"] = right_of(row, row["response"])
    right: bool | None = row["right"]
    return right


def _deep(reader: Reader, run_ids: Sequence[str]) -> list[str]:
    rows = reader.rows(
        "SELECT DISTINCT n.tree_id, n.depth FROM tree_nodes n "
        f"SEMI JOIN (SELECT stage_key, tree_id FROM trees WHERE {_ACCEPTED}) t USING (stage_key, tree_id) "
        f"WHERE n.accepted ORDER BY n.depth DESC, md5(n.tree_id) LIMIT {_EXTREMES}",
        [list(run_ids)],
    )
    return [row["tree_id"] for row in rows]


def _in_vain(reader: Reader, run_ids: Sequence[str]) -> list[str]:
    rows = reader.rows(
        "SELECT DISTINCT tree_id, nodes_expanded FROM trees WHERE accepted_node_id IS NULL "
        f"AND list_contains(?, run_id) ORDER BY nodes_expanded DESC, md5(tree_id) LIMIT {_EXTREMES}",
        [list(run_ids)],
    )
    return [row["tree_id"] for row in rows]


def _read(reader: Reader, taken: Mapping[str, str]) -> Iterator[ChosenTree]:
    found = read_trees(reader, list(taken))
    for tree_id, kind in taken.items():
        whole = found.get(tree_id)
        if whole is None or not whole.nodes:
            continue
        cut = _cut(whole)
        first = chosen_node(cut, None)["node_id"]
        facts = {}
        for shown, node in zip(cut.nodes, whole.nodes, strict=True):
            checked = facts_of(whole, node)  # a checker judges the whole text
            told = {name: checked[name] for name in ("rules", "right", "root_rules")}
            facts[node["node_id"]] = facts_of(cut, shown) | told
        depth = next((node["depth"] for node in whole.nodes if node["accepted"]), None)
        yield ChosenTree(kind, cut, tree_picture(cut.nodes, first), first, facts, depth)


def _cut(found: TreeReading) -> TreeReading:
    """The tree with long texts cut; where something is missing, the text says so."""
    votes = {name: [_cut_row(vote) for vote in own] for name, own in found.votes.items()}
    return found._replace(prompt=_cut_row(found.prompt), nodes=[_cut_row(node) for node in found.nodes], votes=votes)


def _cut_row(row: dict[str, Any]) -> dict[str, Any]:
    cut: dict[str, Any] = {name: _cut_text(row[name]) for name in _TEXTS if isinstance(row.get(name), str)}
    if row.get("by_constraint"):
        cut["by_constraint"] = [_cut_row(part) for part in row["by_constraint"]]
    return row | cut


def _cut_text(text: str) -> str:
    if len(text) <= _TEXT:
        return text
    return f"{text[:_TEXT]}\n[… {len(text) - _TEXT:,} further characters: `spar view` has all of it]"
