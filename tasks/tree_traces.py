"""Search trees as MLflow traces: one span per rewrite, within it one per vote, at the end what was accepted."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from spar_core.records import Tree, TreeNode, Vote
from storage import places
from storage.addresses import view_page
from storage.artifacts import ArtifactRef
from storage.catalog import open_catalog
from storage.home import Home
from storage.schemas import from_batch
from storage.traces import Step, Trace, Traces


def log_trees(
    home: Home, run_id: str, iteration: int, trees: ArtifactRef, prompts: ArtifactRef, most: int, mlflow_run: str
) -> int:
    """Log up to `most` trees of an iteration; returns how many. The same ones whenever it is asked again.

    Raises:
        StorageError: MLflow's database fails.
    """
    if not most:
        return 0
    with open_catalog(home) as catalog:

        def rows(table: str, key: str, ids: Iterable[str]) -> Iterator[Any]:
            place = "stage_key = ? AND run_id = ? AND iteration = ?"
            wanted = f"SELECT * FROM {table} WHERE {place} AND {key} IN (SELECT unnest(?))"
            for batch in catalog.query(wanted, [trees.stage_key, run_id, iteration, list(ids)]).to_batches():
                yield from from_batch(table, batch)

        chosen = chosen_trees(trees.read("trees"), most)
        known = catalog.rows(
            "SELECT DISTINCT prompt_id, text FROM prompts WHERE stage_key = ? AND prompt_id IN (SELECT unnest(?))",
            [prompts.stage_key, [tree.prompt_id for tree in chosen]],
        )
        texts = {row["prompt_id"]: row["text"] for row in known}
        nodes: dict[str, list[TreeNode]] = defaultdict(list)
        for node in rows("tree_nodes", "tree_id", [tree.tree_id for tree in chosen]):
            nodes[node.tree_id].append(node)
        votes: dict[str, list[Vote]] = defaultdict(list)
        owners = [node.node_id for found in nodes.values() for node in found]
        for vote in rows("tree_votes", "response_id", owners):
            votes[vote.response_id].append(vote)
    begun = datetime.fromisoformat(trees.manifest().created)
    traces = Traces(home)
    for tree in chosen:
        trace = _trace(home, run_id, iteration, tree, texts.get(tree.prompt_id, ""), nodes[tree.tree_id], votes, begun)
        traces.log(trace, mlflow_run)
    return len(chosen)


def chosen_trees(trees: Iterable[Tree], most: int) -> list[Tree]:
    """Half of them found an accepted rewrite, those with the most nodes first, half did not, likewise."""
    ordered = sorted(trees, key=lambda tree: (-tree.nodes_expanded, tree.tree_id))
    found = [tree for tree in ordered if tree.accepted_node_id is not None]
    lost = [tree for tree in ordered if tree.accepted_node_id is None]
    half = max(most - len(lost), -(-most // 2))
    return [*found[:half], *lost[: most - len(found[:half])]]


def _trace(
    home: Home,
    run_id: str,
    iteration: int,
    tree: Tree,
    asked: str,
    nodes: Sequence[TreeNode],
    votes: Mapping[str, Sequence[Vote]],
    begun: datetime,
) -> Trace:
    accepted = next((node for node in nodes if node.node_id == tree.accepted_node_id), None)
    root = next((node for node in nodes if node.parent_id is None), None)
    step = Step(
        f"{tree.strategy}, {tree.stop_reason}",
        "AGENT",
        {"prompt": asked, "failing answer": "" if root is None else root.response},
        {"accepted": None if accepted is None else accepted.response},
        {
            "stop_reason": tree.stop_reason,
            "nodes_expanded": tree.nodes_expanded,
            "look into it": view_page(home, places.tree(tree.tree_id)),
        },
        tuple(_node_steps(nodes, votes)),
    )
    tags = {
        "run_id": run_id,
        "iteration": str(iteration),
        "tree_id": tree.tree_id,
        "prompt_id": tree.prompt_id,
        "stop_reason": tree.stop_reason,
    }
    return Trace(f"{run_id}/{iteration}/{tree.tree_id}", step, begun, tree.engine_seconds, tags)


def _node_steps(nodes: Sequence[TreeNode], votes: Mapping[str, Sequence[Vote]]) -> Iterator[Step]:
    """The root's step, which holds those of its rewrites, and so on."""
    below: dict[str | None, list[TreeNode]] = defaultdict(list)
    for node in sorted(nodes, key=lambda node: node.visit_order):
        below[node.parent_id].append(node)

    def step(node: TreeNode) -> Step:
        own = tuple(_vote_step(vote) for vote in votes.get(node.node_id, ()))
        return Step(
            _name(node),
            "LLM" if node.parent_id else "CHAIN",
            {"reflection": node.reflection} if node.parent_id else {},
            {"answer": node.response},
            {
                "value": node.value,
                "yes": node.yes_votes,
                "no": node.no_votes,
                "unparseable": node.unparseable_votes,
                "accepted": node.accepted,
                "duplicate_of": node.duplicate_of,
                "depth": node.depth,
                "node_id": node.node_id,
            },
            (*own, *(step(child) for child in below[node.node_id])),
            failed=node.failure or "",
        )

    yield from (step(root) for root in below[None])


def _name(node: TreeNode) -> str:
    what = "failing answer" if node.parent_id is None else f"rewrite {node.visit_order}"
    if node.accepted:
        return f"{what}: accepted"
    if node.failure:
        return f"{what}: failed"
    if node.duplicate_of:
        return f"{what}: seen before"
    return what if node.value is None else f"{what}: {node.yes_votes} of {_readable(node)} say yes"


def _readable(node: TreeNode) -> int:
    return node.yes_votes + node.no_votes + node.unparseable_votes


def _vote_step(vote: Vote) -> Step:
    return Step(
        f"vote {vote.vote_index + 1}: {vote.verdict}",
        "EVALUATOR",
        {},
        {"verdict": str(vote.verdict), "critique": vote.critique},
    )
