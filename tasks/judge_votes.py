"""Stage `eval_votes`: the refiner's votes on texts that neither it nor the first actor wrote, to calibrate it."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from spar_core.evaluation.judged_texts import FIRST_REWRITES, OWN_ANSWERS, Ballot
from spar_core.evaluation.measures import Measured, rewrite_items, vote_item
from spar_core.evaluation.truth import is_right
from spar_core.hashing import derive_seed
from spar_core.records import Prompt, Response, Tree, TreeNode
from spar_core.roles import Subject, judge_all
from tasks.judgements import refiner_of
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage


class _Rewritten(NamedTuple):
    """A rewrite of the first refiner and the tree it stands in."""

    tree: Tree
    node: TreeNode


def _votes(context: ShardContext) -> ShardRows:
    return asyncio.run(_judge(context))


async def _judge(context: ShardContext) -> ShardRows:
    """Judge this shard's share of the actor's own answers and, where given, of the first refiner's rewrites."""
    prompts = {prompt.prompt_id: prompt for prompt in context.read("prompts", "eval_prompts")}
    who = Measured("refiner", context.call.models["refiner"].digest)
    context.part.write("eval_items", ())
    rewritten = {entry.node.node_id: entry for entry in _first_rewrites(context)}
    texts = [*_own_answers(context, prompts), *map(_as_response, rewritten.values())]
    subjects = (Subject(prompts[text.prompt_id].text, text) for text in texts)
    limit = context.call.surroundings.orchestration.requests_in_flight
    judged_texts = 0
    refiner = refiner_of(context, prompts.values())
    async for judged in judge_all(subjects, refiner, context.call.seed, max_requests_in_flight=limit, ordered=True):
        judged_texts += 1
        ballot = Ballot.of_votes(judged.votes, decided=judged.judgement is not None)
        prompt, entry = prompts[judged.response.prompt_id], rewritten.get(judged.response.response_id)
        if entry is None:
            items = [vote_item(who, OWN_ANSWERS, prompt, judged.response, ballot)]
        else:
            items = rewrite_items(who, FIRST_REWRITES, prompt, [(entry.node, ballot)], entry.tree.root_response_id)
        context.part.write("eval_items", items)
    return ShardRows(len(texts), judged_texts)


def is_rewrite(node: TreeNode) -> bool:
    """Whether a tree node is a rewrite that was put to the vote."""
    return node.parent_id is not None and node.failure is None and node.duplicate_of is None


def _own_answers(context: ShardContext, prompts: dict[str, Prompt]) -> Iterator[Response]:
    """First samples in order, half of the share wrong and half right: mistakes grow rare, and they are the question."""
    share = context.share(context.call.config["items"], "answers")
    room = {True: share // 2, False: share - share // 2}
    for answer in context.read("answers", "eval_responses"):
        if answer.sample_index == 0:
            right = is_right(prompts[answer.prompt_id], answer.text)
            if room[right] > 0:
                room[right] -= 1
                yield answer


def _first_rewrites(context: ShardContext) -> list[_Rewritten]:
    """A seeded sample of the first refiner's rewrites at depth 1, the depth that is compared (self-evaluation bias)."""
    if "first" not in context.call.inputs:
        return []
    trees = {tree.tree_id: tree for tree in context.read("first", "eval_trees")}
    nodes = [n for n in context.read("first", "eval_tree_nodes") if is_rewrite(n) and n.depth == 1]
    nodes.sort(key=lambda node: derive_seed(context.call.seed, "eval_votes", node.node_id))
    share = context.share(context.call.config["items"], "answers")
    return [_Rewritten(trees[node.tree_id], node) for node in nodes[:share]]


def _as_response(entry: _Rewritten) -> Response:
    node = entry.node
    return Response(
        response_id=node.node_id,
        prompt_id=entry.tree.prompt_id,
        sample_index=node.visit_order,
        text=node.response,
        finish_reason=node.finish_reason,
        prompt_tokens=0,
        completion_tokens=0,
        model_digest="",
        seed=node.seed,
    )


EVAL_VOTES = Stage("eval_votes", version=2, work=_votes, sharded_by="answers")
