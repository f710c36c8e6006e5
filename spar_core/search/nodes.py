"""The nodes of a tree as they come into being: the root, a rewrite, and what a judgement makes of it."""

from collections import Counter
from dataclasses import replace

from spar_core.config.method import SearchConfig
from spar_core.hashing import content_id
from spar_core.records import TreeNode
from spar_core.roles.refiner import JudgementOutcome, Rewrite
from spar_core.search.root import Root


def root_node(tree_id: str, root: Root, config: SearchConfig) -> TreeNode:
    """Node 0."""
    return TreeNode(
        tree_id=tree_id,
        node_id=content_id("node", tree_id, None, 0),
        parent_id=None,
        depth=0,
        visit_order=0,
        response=root.response,
        reflection="",
        critique=root.critique,
        value=0.0 if config.root_value == "zero" else root.value,
        yes_votes=root.yes_votes,
        no_votes=root.no_votes,
        unparseable_votes=root.unparseable_votes,
        duplicate_of=None,
        accepted=False,
        finish_reason=root.finish_reason,
        seed=root.seed,
        anchored=root.anchored,
        votes_spared=root.votes_spared,
    )


def child_node(
    parent: TreeNode, visit_order: int, rewrite: Rewrite, failure: str | None, duplicate_of: str | None
) -> TreeNode:
    """A rewrite of `parent`, not judged yet."""
    return TreeNode(
        tree_id=parent.tree_id,
        node_id=content_id("node", parent.tree_id, parent.node_id, visit_order),
        parent_id=parent.node_id,
        depth=parent.depth + 1,
        visit_order=visit_order,
        response=rewrite.response,
        reflection=rewrite.reflection,
        critique="",
        value=None,
        yes_votes=0,
        no_votes=0,
        unparseable_votes=0,
        duplicate_of=duplicate_of,
        accepted=False,
        finish_reason=rewrite.finish_reason,
        seed=rewrite.seed,
        failure=failure,
        rewrite=rewrite.text,
        thought=rewrite.thought,
        completion_tokens=None if rewrite.refused else rewrite.completion_tokens,
        prompt_tokens=None if rewrite.refused else rewrite.prompt_tokens,
    )


def with_judgement(child: TreeNode, outcome: JudgementOutcome) -> TreeNode:
    """The node with its votes' judgement, or with the reason why they make none; in place of one of fewer votes."""
    judgement = outcome.judgement
    if judgement is None:
        verdicts = Counter(vote.verdict.value for vote in outcome.votes)
        counts = (verdicts["YES"], verdicts["NO"], verdicts["UNPARSEABLE"])
        return replace(
            child,
            value=None,
            critique="",
            yes_votes=counts[0],
            no_votes=counts[1],
            unparseable_votes=counts[2],
            votes_spared=0,
            failure=f"judge:{outcome.failure}",
        )
    return replace(
        child,
        value=judgement.value,
        critique=judgement.critique,
        yes_votes=judgement.yes_votes,
        no_votes=judgement.no_votes,
        unparseable_votes=judgement.unparseable_votes,
        anchored=judgement.anchored,
        votes_spared=judgement.votes_spared,
        by_constraint=judgement.by_constraint,
    )


def judged_as(child: TreeNode, known: TreeNode) -> TreeNode:
    """The node with the judgement of another one of the very same text."""
    return replace(
        child,
        duplicate_of=known.node_id,
        value=known.value,
        critique=known.critique,
        yes_votes=known.yes_votes,
        no_votes=known.no_votes,
        unparseable_votes=known.unparseable_votes,
        anchored=known.anchored,
        failure=known.failure,
        votes_spared=known.votes_spared,
        by_constraint=known.by_constraint,
    )
