"""Stages of the benchmarks on held-out prompts whose truth a checker knows: `refinement` and `starter`."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import NamedTuple

from spar_core.config.method import SearchConfig
from spar_core.evaluation.measures import Measured, self_play_measures
from spar_core.evaluation.scores import score_record, score_records, share_score
from spar_core.evaluation.statistics import paired_difference
from spar_core.evaluation.truth import is_right
from spar_core.hashing import content_id
from spar_core.records import EvalItem, Judgement, Prompt, Response, Root, TreeNode, Verdict
from spar_core.roles import Refiner, Subject, judge_all
from spar_core.search.scheduler import run_trees
from tasks.judgements import refiner_of
from tasks.stages import ShardContext, ShardRows, Stage

REFINEMENT = "refinement"
STARTER = "starter"
_WAYS = ("single", "tree")


class Failing(NamedTuple):
    """A held-out answer that truly fails, and the refiner's judgement of it (null: no majority, `reason` says why)."""

    prompt: Prompt
    response: Response
    judgement: Judgement | None
    reason: str


def _repairs(context: ShardContext) -> ShardRows:
    return asyncio.run(_repair(context))


async def _repair(context: ShardContext) -> ShardRows:
    """Mend this shard's share of the failing answers, by one rewrite and by tree search, and check the truth.

    Both ways start from the same judgement. An answer the refiner takes for right is mended by neither.
    """
    refiner, failing = refiner_of(context), [entry async for entry in _judged(context)]
    search = SearchConfig.model_validate(context.call.config["search"])
    roots = [
        Root.create(entry.prompt, entry.response, entry.judgement)
        for entry in failing
        if entry.judgement is not None and entry.judgement.verdict is Verdict.NO
    ]
    context.part.write("eval_items", ())
    for way, config in zip(_WAYS, (search.one_rewrite(), search), strict=True):
        rewrites = await _mended(context, refiner, roots, config)
        items = [_item(context, way, entry, rewrites.get(entry.response.response_id)) for entry in failing]
        context.part.write("eval_items", items)
    return ShardRows(len(failing), len(failing))


async def _judged(context: ShardContext) -> AsyncIterator[Failing]:
    entries = list(_failing(context))
    subjects = (Subject(prompt.text, response) for prompt, response in entries)
    limit = context.call.surroundings.orchestration.requests_in_flight
    prompts = iter(entries)
    async for judged in judge_all(
        subjects, refiner_of(context), context.call.seed, max_requests_in_flight=limit, ordered=True
    ):
        prompt, response = next(prompts)
        yield Failing(prompt, response, judged.judgement, "" if judged.drop is None else judged.drop.reason)


def _failing(context: ShardContext) -> Iterator[tuple[Prompt, Response]]:
    """The first truly failing answers of this shard: an equal share of the items per shard."""
    answers, wanted = context.call.inputs["answers"], context.call.config["items"]
    parts = len(answers.manifest().parts)
    share = wanted // parts + (context.shard < wanted % parts)
    prompts = {prompt.prompt_id: prompt for prompt in context.read("prompts", "eval_prompts")}
    for response in answers.read("eval_responses", part=context.shard):
        if share == 0:
            return
        prompt = prompts[response.prompt_id]
        if response.sample_index == 0 and not is_right(prompt, response.text):
            share -= 1
            yield prompt, response


async def _mended(
    context: ShardContext, refiner: Refiner, roots: list[Root], search: SearchConfig
) -> dict[str, TreeNode]:
    """What each root's search came to, by response: the accepted rewrite; of a single rewrite the rewrite itself."""
    single = search.node_budget == 1
    found: dict[str, TreeNode] = {}
    async for result in run_trees(roots, refiner, search, context.call.seed, ordered=True):
        rewrites = [node for node in result.nodes[1:] if node.failure is None] if single else []
        node = rewrites[0] if rewrites else result.accepted
        if node is not None:
            found[result.tree.root_response_id] = node
    return found


def _item(context: ShardContext, way: str, entry: Failing, rewrite: TreeNode | None) -> EvalItem:
    digest = context.call.models["refiner"].digest
    said = None if entry.judgement is None else str(entry.judgement.verdict)
    detail = {
        "judged": said or entry.reason,
        "accepted": rewrite is not None and rewrite.accepted,
        "depth": None if rewrite is None else rewrite.depth,
    }
    fixed = rewrite is not None and is_right(entry.prompt, rewrite.response)
    item_id = content_id("eval", REFINEMENT, digest, entry.response.response_id)
    # A refiner that cannot even read the answer (refused request) leaves it unscored; one that misjudges it fails.
    value = None if entry.judgement is None and not entry.reason.startswith(("quorum", "tie")) else float(fixed)
    text = json.dumps(detail, sort_keys=True)
    return EvalItem(REFINEMENT, "refiner", digest, item_id, entry.prompt.prompt_id, way, value, text)


def _refinement_scores(context: ShardContext) -> ShardRows:
    digest = context.call.models["refiner"].digest
    values: dict[str, list[float | None]] = {way: [] for way in _WAYS}
    clusters: list[str] = []
    judged_right = 0
    for item in context.call.inputs["repairs"].read("eval_items"):
        values[item.metric].append(item.value)
        if item.metric == _WAYS[0]:
            clusters.append(item.cluster_id)
            judged_right += json.loads(item.detail)["judged"] == Verdict.YES.value
    scores = []
    for way in _WAYS:
        known = [value for value in values[way] if value is not None]
        scores.append(share_score(way, int(sum(known)), len(known), len(values[way]) - len(known)))
    scores.append(share_score("judged_right_by_mistake", judged_right, len(clusters), 0))
    records = [*score_records(REFINEMENT, "refiner", digest, scores)]
    pairs = [row for row in zip(*values.values(), clusters, strict=True) if None not in row]
    if pairs:
        single, tree, groups = ([row[index] for row in pairs] for index in range(3))
        difference = paired_difference(single, tree, groups)
        records.append(score_record(REFINEMENT, "refiner", digest, "tree_minus_single", difference))
    context.part.write("eval_scores", records)
    return ShardRows(len(clusters), len(clusters))


def _starter_scores(context: ShardContext) -> ShardRows:
    """The measurements of self-play for one model or for both, filed as a benchmark of its own."""
    rows = 0
    context.part.write("eval_scores", ())
    for role in ("actor", "refiner"):
        if role not in context.call.inputs:
            continue
        items = list(context.call.inputs[role].read("eval_items"))
        who = Measured("actor" if role == "actor" else "refiner", context.call.models[role].digest)
        measured = self_play_measures(who, items)
        context.part.write("eval_items", [replace(item, benchmark=STARTER) for item in [*items, *measured.missing]])
        context.part.write("eval_scores", [replace(score, benchmark=STARTER) for score in measured.scores])
        rows += len(items)
    refused = list(context.call.inputs["actor"].read("drops"))
    if refused and rows:
        digest = context.call.models["actor"].digest
        asked = len(refused) + context.call.inputs["actor"].manifest().rows_out
        score = share_score("answer_refused", len(refused), asked, 0)
        context.part.write("eval_scores", score_records(STARTER, "actor", digest, [score])[:1])
    return ShardRows(rows, rows)


REPAIRS = Stage("repairs", version=1, work=_repairs, sharded_by="answers")
REFINEMENT_SCORES = Stage("refinement_scores", version=2, work=_refinement_scores)
STARTER_SCORES = Stage("starter_scores", version=3, work=_starter_scores)
