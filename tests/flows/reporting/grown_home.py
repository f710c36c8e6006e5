"""A home whose run has searched trees of every kind, made through the storage itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from spar_core.records import Constraint, EvalScore, Prompt, Tree, TreeNode, Verdict, Vote
from storage.artifacts import ArtifactStore, Provenance
from storage.entries import StageRun
from storage.home import Home
from storage.ledger import Ledger

RUN = "grown-1"


class Grown(NamedTuple):
    """A tree: the path of texts to its last node, whether that was accepted, and how many rewrites it made."""

    name: str
    texts: tuple[str, ...]
    accepted: bool
    expanded: int


def grown_home(root, trees: list[Grown], critique: str = "No.", scores: Sequence[EvalScore] = ()) -> Home:
    """One iteration; every prompt forbids commas. `scores`: what the run measured."""
    home = Home(root)
    home.settle()
    ledger = Ledger(home)
    ledger.open_run(RUN, {"iterations": 1, "models": {"actor": "base"}})
    store = ArtifactStore(home)
    tables = {
        "prompts": {"prompts": [_prompt(tree) for tree in trees]},
        "trees": {
            "trees": [_tree(tree) for tree in trees],
            "tree_nodes": [node for tree in trees for node in _nodes(tree)],
            "tree_votes": [Vote(f"{tree.name}-1", 0, Verdict.NO, critique, "stop", 3) for tree in trees],
        },
    }
    tables |= {"measures": {"eval_scores": scores}} if scores else {}
    now = datetime.now(UTC)
    for stage, written in tables.items():
        with store.part(stage, f"{stage}-key", 0) as part:
            for table, rows in written.items():
                part.write(table, rows)
            part.account(rows_in=len(trees), rows_out=len(trees))
        ref = store.commit(stage, f"{stage}-key", provenance=Provenance())
        ledger.record_stage(
            StageRun(
                run_id=RUN,
                iteration=1,
                stage=stage,
                stage_key=f"{stage}-key",
                state="completed",
                rows_in=len(trees),
                rows_out=len(trees),
                rows_dropped=0,
                seconds=1.0,
                artifact_uri=ref.uri,
                started=now,
                ended=now,
            )
        )
    ledger.close_run(RUN, "completed", "")
    return home


def _prompt(tree: Grown) -> Prompt:
    return Prompt(f"p-{tree.name}", f"Prompt of {tree.name}", (Constraint("punctuation:no_comma"),), "train", "")


def _tree(tree: Grown) -> Tree:
    last = f"{tree.name}-{len(tree.texts) - 1}" if tree.accepted else None
    why = "accepted" if tree.accepted else "exhausted"
    return Tree(tree.name, f"p-{tree.name}", f"{tree.name}-0", "bfs", why, tree.expanded, last, 1.0)


def _nodes(tree: Grown) -> list[TreeNode]:
    return [
        TreeNode(
            tree_id=tree.name,
            node_id=f"{tree.name}-{depth}",
            parent_id=f"{tree.name}-{depth - 1}" if depth else None,
            depth=depth,
            visit_order=depth,
            response=text,
            reflection="",
            critique="",
            yes_votes=1,
            no_votes=0,
            unparseable_votes=0,
            value=1.0,
            accepted=tree.accepted and depth == len(tree.texts) - 1,
            duplicate_of=None,
            failure=None,
            finish_reason="stop",
            seed=1,
        )
        for depth, text in enumerate(tree.texts)
    ]
