"""Records of earlier stages, short to write down."""

from spar_core.records import Judgement, Prompt, Response, Tree, TreeNode, Verdict


def prompt(name: str) -> Prompt:
    return Prompt(name, f"task {name}")


def response(response_id: str, prompt_id: str, text: str | None = None) -> Response:
    return Response(response_id, prompt_id, 0, text or f"text {response_id}", "stop", 1, 1, "m", 0)


def judgement(response_id: str, yes: int, no: int) -> Judgement:
    verdict = Verdict.YES if yes > no else Verdict.NO
    return Judgement(response_id, verdict, yes, no, 0, yes / (yes + no), f"critique {response_id} {verdict.value}")


def tree(tree_id: str, prompt_id: str, accepted: str | None, stop_reason: str = "accepted") -> Tree:
    return Tree(tree_id, prompt_id, f"root of {tree_id}", "bfs", stop_reason, 3, accepted, 0.0)


def node(
    tree_id: str,
    node_id: str,
    parent_id: str | None,
    text: str,
    value: float | None,
    *,
    failure: str | None = None,
    reflection: str = "",
) -> TreeNode:
    depth = 0 if parent_id is None else 1
    yes = 0 if value is None else round(value * 5)
    return TreeNode(
        tree_id, node_id, parent_id, depth, 0, text, reflection, f"critique {node_id}", value, yes, 5 - yes, 0, None,
        False, "stop", 0, failure,
    )  # fmt: skip
