"""Preference pairs for the actor from trees (the method, step 6), and what every way of making pairs shares."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from spar_core.config.pairs import PairsConfig
from spar_core.data.seeded_choice import cap
from spar_core.errors import DataError
from spar_core.hashing import content_id
from spar_core.records import Drop, PreferencePair, Prompt, Tree, TreeNode

STAGE = "pairs"
V = TypeVar("V")
MAJORITY = 0.5  # published: only values strictly above it make a chosen answer


class Side(NamedTuple):
    """One text of a pair, the id of what it is of, and whether it ended at the token limit."""

    text: str
    id: str
    cut: bool = False


class Pairs(NamedTuple):
    """Rows in: trees, or prompts for pairs from samples. Rows out: pairs."""

    pairs: list[PreferencePair]
    drops: list[Drop]


def pairs_from_trees(
    prompts: Iterable[Prompt], trees: Iterable[Tree], nodes: Iterable[TreeNode], config: PairsConfig, *, run_seed: int
) -> Pairs:
    """Accepted rewrite over root.

    Drops, by tree id: `root_accepted`, `not_accepted` (detail: stop reason), `low_value` (not above one half:
    acceptance was configured lower), `identical` (texts equal but for surrounding whitespace), `over_cap`.
    Reads each iterable once; holds two texts per tree.

    Raises:
        DataError: a tree without its prompt or nodes.
    """
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    all_trees = list(trees)
    wanted = {tree.accepted_node_id for tree in all_trees}
    roots: dict[str, TreeNode] = {}
    accepted: dict[str, TreeNode] = {}
    for node in nodes:
        if node.depth == 0:
            roots[node.tree_id] = node
        if node.node_id in wanted:
            accepted[node.tree_id] = node
    pairs, drops = [], []
    for tree in all_trees:
        root = _found(roots, tree.tree_id, "root of tree")
        drop = _unfit(tree, root, accepted)
        if drop is not None:
            drops.append(drop)
            continue
        chosen = accepted[tree.tree_id]
        text = _found(texts, tree.prompt_id, "prompt")
        both = (
            Side(chosen.response, chosen.node_id, chosen.finish_reason == "length"),
            Side(root.response, tree.root_response_id, root.finish_reason == "length"),
        )
        made = make_pair(tree.prompt_id, text, *both, chosen.value or 0.0)
        pairs.append(replace(made, tree_id=tree.tree_id))
    return capped(pairs, drops, config, run_seed)


def make_pair(
    prompt_id: str, prompt: str, chosen: Side | tuple[str, str], rejected: Side | tuple[str, str], value: float
) -> PreferencePair:
    """A pair of texts, each with the id of what it is of; the pair's id follows from its prompt and texts."""
    better, worse = Side(*chosen), Side(*rejected)
    pair_id = content_id("pair", prompt_id, better.text, worse.text)
    texts = (better.text, worse.text, value, better.id, worse.id, better.cut, worse.cut)
    return PreferencePair(pair_id, prompt_id, None, prompt, *texts)


def capped(pairs: list[PreferencePair], drops: list[Drop], config: PairsConfig, run_seed: int) -> Pairs:
    """At most `max_pairs` of the pairs, ranked by prompt: methods compared under one cap keep the same prompts' pairs
    where they can."""
    kept, over = cap(
        pairs,
        config.max_pairs,
        run_seed=run_seed,
        stage=STAGE,
        row_id=lambda pair: pair.tree_id or pair.prompt_id,
        rank_id=lambda pair: pair.prompt_id,
    )
    return Pairs(kept, drops + over)


def _unfit(tree: Tree, root: TreeNode, accepted: Mapping[str, TreeNode]) -> Drop | None:
    if tree.accepted_node_id is None:
        return Drop(STAGE, tree.tree_id, "not_accepted", tree.stop_reason)
    if tree.accepted_node_id == root.node_id:
        return Drop(STAGE, tree.tree_id, "root_accepted")
    chosen = _found(accepted, tree.tree_id, "accepted node of tree")
    if chosen.value is None or chosen.value <= MAJORITY:
        return Drop(STAGE, tree.tree_id, "low_value", f"value {chosen.value}")
    if chosen.response.strip() == root.response.strip():
        return Drop(STAGE, tree.tree_id, "identical")
    return None


def _found(table: Mapping[str, V], key: str, what: str) -> V:
    try:
        return table[key]
    except KeyError:
        raise DataError(f"{what} {key} is missing from the input; were all shards of the stage before given?") from None
