"""Stages of the benchmarks on held-out prompts whose truth a checker knows: `refinement` and `starter`.

`refinement` measures a single rewrite and a tree search by the same two rules, each from the same judgement:

| metric | text whose truth counts |
| --- | --- |
| single, tree | the search's best text, which `spar refine` would show: accepted, else the most approved |
| single_accepted, tree_accepted | the accepted rewrite alone; an answer without one counts as not mended |
| first_rewrite | the first rewrite, whatever the votes say; both searches have the same |
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from spar_core.config.method import SearchConfig
from spar_core.evaluation.measures import Measured, self_play_measures
from spar_core.evaluation.samples import pass_scores
from spar_core.evaluation.scores import score_record, score_records, share_score
from spar_core.evaluation.statistics import paired_difference
from spar_core.evaluation.truncation import Truncation
from spar_core.evaluation.truth import is_right
from spar_core.hashing import content_id
from spar_core.records import EvalItem, EvalScore, Judgement, Prompt, Response, Root, TreeNode, Verdict
from spar_core.roles import Subject, judge_all
from spar_core.search.scheduler import run_trees
from spar_core.search.shares import Uses
from spar_core.search.tree_search import SearchResult
from tasks.judgements import refiner_of
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

REFINEMENT = "refinement"
STARTER = "starter"
FIRST_REWRITE = "first_rewrite"
_WAYS = ("single", "tree")
_ACCEPTED = "_accepted"
_USES = Uses(accepted=False, best=True, shares=False)  # texts, whose truth is measured


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
    failing = [entry async for entry in _judged(context)]
    refiner = refiner_of(context, (entry.prompt for entry in failing))
    search = SearchConfig.model_validate(context.call.config["search"])
    roots = [
        Root.create(entry.prompt, entry.response, entry.judgement)
        for entry in failing
        if entry.judgement is not None and entry.judgement.verdict is Verdict.NO
    ]
    context.part.write("eval_items", ())
    for way, config in zip(_WAYS, (search.one_rewrite(), search), strict=True):
        found: dict[str, SearchResult] = {}
        async for result in run_trees(roots, refiner, config, context.call.seed, uses=_USES, ordered=True):
            found[result.tree.root_response_id] = result
        for entry in failing:
            items = [
                _item(context, metric, entry, node)
                for metric, node in _outcomes(way, found.get(entry.response.response_id))
            ]
            context.part.write("eval_items", items)
    return ShardRows(len(failing), len(failing))


def _outcomes(way: str, result: SearchResult | None) -> list[tuple[str, TreeNode | None]]:
    """What each metric of a way takes for the mended text; null where nothing was mended."""
    used = None if result is None else result.best
    found = [(way, used), (f"{way}{_ACCEPTED}", None if result is None else result.accepted)]
    if way == _WAYS[0]:
        rewrites = [] if result is None else [node for node in result.nodes[1:] if node.failure is None]
        found.append((FIRST_REWRITE, rewrites[0] if rewrites else None))
    return found


async def _judged(context: ShardContext) -> AsyncIterator[Failing]:
    entries = list(_failing(context))
    subjects = (Subject(prompt.text, response) for prompt, response in entries)
    limit = context.call.surroundings.orchestration.requests_in_flight
    prompts = iter(entries)
    refiner = refiner_of(context, (prompt for prompt, _ in entries))
    async for judged in judge_all(subjects, refiner, context.call.seed, max_requests_in_flight=limit, ordered=True):
        prompt, response = next(prompts)
        yield Failing(prompt, response, judged.judgement, "" if judged.drop is None else judged.drop.reason)


def _failing(context: ShardContext) -> Iterator[tuple[Prompt, Response]]:
    """The first truly failing answers of this shard: an equal share of the items per shard."""
    share = context.share(context.call.config["items"], "answers")
    prompts = {prompt.prompt_id: prompt for prompt in context.read("prompts", "eval_prompts")}
    for response in context.read("answers", "eval_responses"):
        if share == 0:
            return
        prompt = prompts[response.prompt_id]
        if response.sample_index == 0 and not is_right(prompt, response.text):
            share -= 1
            yield prompt, response


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
    by_metric: dict[str, list[EvalItem]] = defaultdict(list)
    for item in context.call.inputs["repairs"].read("eval_items"):
        by_metric[item.metric].append(item)
    first = by_metric[FIRST_REWRITE]
    judged_right = sum(json.loads(item.detail)["judged"] == Verdict.YES.value for item in first)
    scores = [
        share_score(metric, int(sum(known)), len(known), len(items) - len(known))
        for metric, items in by_metric.items()
        for known in [[item.value for item in items if item.value is not None]]
    ]
    scores.append(share_score("judged_right_by_mistake", judged_right, len(first), 0))
    records = [*score_records(REFINEMENT, "refiner", digest, scores)]
    for rule in ("", _ACCEPTED):
        single, tree = (by_metric[f"{way}{rule}"] for way in _WAYS)
        pairs = [
            (one.value, other.value, one.cluster_id)
            for one, other in zip(single, tree, strict=True)
            if one.value is not None and other.value is not None
        ]
        if pairs:
            before, after, clusters = map(list, zip(*pairs, strict=True))
            difference = paired_difference(before, after, clusters)
            records.append(score_record(REFINEMENT, "refiner", digest, f"tree_minus_single{rule}", difference))
    context.part.write("eval_scores", records)
    return ShardRows(len(first), len(first))


def _starter_scores(context: ShardContext) -> ShardRows:
    """The measurements of self-play for one model or for both, filed as a benchmark of its own."""
    rows, reads = 0, context.call.config
    settings = reads.get("settings", "")
    context.part.write("eval_scores", ())
    for role in ("actor", "refiner"):
        if role not in context.call.inputs:
            continue
        items = list(context.call.inputs[role].read("eval_items"))
        who = Measured("actor" if role == "actor" else "refiner", context.call.models[role].digest)
        measured = self_play_measures(who, items)
        filed = [replace(item, benchmark=STARTER, settings=settings) for item in [*items, *measured.missing]]
        context.part.write("eval_items", filed)
        scores = [replace(score, benchmark=STARTER, settings=settings) for score in measured.scores]
        context.part.write("eval_scores", [*scores, *_passes(who, items, reads.get("pass_k", ()), settings)])
        rows += len(items)
    digest = context.call.models["actor"].digest
    cut = Truncation(answer.finish_reason for answer in context.call.inputs["actor"].read("eval_responses"))
    write = [replace(score, settings=settings) for score in score_records(STARTER, "actor", digest, cut.scores())]
    refused = list(context.call.inputs["actor"].read("drops"))
    if refused and rows:
        asked = len(refused) + context.call.inputs["actor"].manifest().rows_out
        score = share_score("answer_refused", len(refused), asked, 0)
        write += [replace(each, settings=settings) for each in score_records(STARTER, "actor", digest, [score])[:1]]
    context.part.write("eval_scores", write)
    return ShardRows(rows, rows)


def _passes(who: Measured, items: Sequence[EvalItem], sizes: Sequence[int], settings: str) -> list[EvalScore]:
    """pass^k of the answers to each held-out prompt."""
    answers = [replace(item, item_id=item.cluster_id) for item in items if item.metric == "accuracy"]
    records = score_records(STARTER, *who, pass_scores("accuracy", answers, sizes)) if answers else ()
    return [replace(record, settings=settings) for record in records]


REPAIRS = Stage("repairs", version=3, work=_repairs, sharded_by="answers")
REFINEMENT_SCORES = Stage("refinement_scores", version=3, work=_refinement_scores)
STARTER_SCORES = Stage("starter_scores", version=5, work=_starter_scores)
