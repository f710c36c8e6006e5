"""Preference pairs for the actor: from trees (the method, step 6), or from independent samples (the comparison)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from spar_core.config.method import PairsConfig
from spar_core.data.seeded_choice import cap, rank
from spar_core.errors import DataError
from spar_core.hashing import content_id
from spar_core.records import Drop, Judgement, PreferencePair, Prompt, Response, Tree, TreeNode

STAGE = "pairs"
V = TypeVar("V")
MAJORITY = 0.5  # published: only values strictly above it make a chosen answer


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
        pairs.append(_pair(tree.prompt_id, text, chosen.response, root.response, chosen.value or 0.0, tree.tree_id))
    return _capped(pairs, drops, config, run_seed)


@dataclass(slots=True)
class _Extremes:
    """Best and worst response of a prompt so far, with the keys they were chosen by."""

    best: Response
    best_key: tuple[float, tuple[int, str]]
    worst: Response
    worst_key: tuple[float, tuple[int, str]]


def pairs_from_samples(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    judgements: Iterable[Judgement],
    config: PairsConfig,
    *,
    run_seed: int,
) -> Pairs:
    """Best over worst of a prompt's independent samples, by the same votes (seeded choice among equals).

    The best must have passed (value above one half) and the worst failed (below), so that both kinds of pair say
    the same: a passing answer is preferred over a failing one.
    Drops, by prompt id: `not_judged`, `no_passing_response`, `no_failing_response`, `identical`, `over_cap`.
    Reads each iterable once, judgements first; holds two responses per prompt.
    """
    values = {judgement.response_id: judgement.value for judgement in judgements}
    extremes: dict[str, _Extremes] = {}
    for response in responses:
        value = values.get(response.response_id)
        if value is not None:
            _consider(extremes, response, value, run_seed)
    pairs, drops = [], []
    for prompt in prompts:
        found = extremes.get(prompt.prompt_id)
        reason = _unfit_samples(found, values)
        if reason is not None or found is None:
            drops.append(Drop(STAGE, prompt.prompt_id, reason or "not_judged"))
            continue
        value = values[found.best.response_id]
        pairs.append(_pair(prompt.prompt_id, prompt.text, found.best.text, found.worst.text, value, None))
    return _capped(pairs, drops, config, run_seed)


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


def _unfit_samples(found: _Extremes | None, values: Mapping[str, float]) -> str | None:
    if found is None:
        return "not_judged"
    if values[found.best.response_id] <= MAJORITY:
        return "no_passing_response"
    if values[found.worst.response_id] >= MAJORITY:
        return "no_failing_response"
    return "identical" if found.best.text.strip() == found.worst.text.strip() else None


def _consider(extremes: dict[str, _Extremes], response: Response, value: float, run_seed: int) -> None:
    place = rank(run_seed, "pairs.samples", response.response_id)
    found = extremes.get(response.prompt_id)
    if found is None:
        extremes[response.prompt_id] = _Extremes(response, (-value, place), response, (value, place))
        return
    if (-value, place) < found.best_key:
        found.best, found.best_key = response, (-value, place)
    if (value, place) < found.worst_key:
        found.worst, found.worst_key = response, (value, place)


def _pair(prompt_id: str, prompt: str, chosen: str, rejected: str, value: float, tree_id: str | None) -> PreferencePair:
    pair_id = content_id("pair", prompt_id, chosen, rejected)
    return PreferencePair(pair_id, prompt_id, tree_id, prompt, chosen, rejected, value)


def _capped(pairs: list[PreferencePair], drops: list[Drop], config: PairsConfig, run_seed: int) -> Pairs:
    # Ranked by prompt, so that methods compared under one cap keep pairs of the same prompts where they can.
    kept, over = cap(
        pairs,
        config.max_pairs,
        run_seed=run_seed,
        stage=STAGE,
        row_id=lambda pair: pair.tree_id or pair.prompt_id,
        rank_id=lambda pair: pair.prompt_id,
    )
    return Pairs(kept, drops + over)


def _found(table: Mapping[str, V], key: str, what: str) -> V:
    try:
        return table[key]
    except KeyError:
        raise DataError(f"{what} {key} is missing from the input; were all shards of the stage before given?") from None
