"""Stages of the search curve: truth of the final answer against the node budget of a test-time search, and its cost.

The actor's first answers are judged; those voted NO become roots; each strategy searches once with the largest budget,
and every smaller budget is read off that search. Answers nobody searched from stay as they are. Nothing feeds training.

| metric | value |
| --- | --- |
| search_accuracy/none | share of first answers that are right |
| search_accuracy/STRATEGY/BUDGET | share of final answers that are right |
| search_tokens/STRATEGY/BUDGET | completion tokens per prompt: judging the answer, rewrites, votes on them |
| search_gain/STRATEGY/BUDGET | paired difference of final and first answers |
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from spar_core.config.method import SearchConfig
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.scores import score_record
from spar_core.evaluation.statistics import SHARE, clustered_mean, paired_difference
from spar_core.evaluation.truth import is_right
from spar_core.hashing import content_id
from spar_core.records import EvalItem, EvalScore, Prompt, Response, Root, Verdict
from spar_core.roles import Subject, judge_all
from spar_core.roles.ballot import A_NO_IN_FULL, EVERY_VOTE
from spar_core.search.budgets import TokenLog, node_tokens, stopped_at
from spar_core.search.scheduler import run_trees
from spar_core.search.tree_search import SearchResult
from tasks.judgements import refiner_of
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

BENCHMARK = "search_curve"
NOT_SEARCHED = "search_accuracy/none"


def _start(context: ShardContext) -> ShardRows:
    return asyncio.run(_judge(context))


async def _judge(context: ShardContext) -> ShardRows:
    """Judge the first answers of this shard's share of the prompts: their truth, and roots where the votes say NO."""
    log = TokenLog(context.engine("refiner"))
    entries = list(_first_answers(context))
    subjects = (Subject(prompt.text, answer) for prompt, answer in entries)
    limit = context.call.surroundings.orchestration.requests_in_flight
    context.part.write("roots", ())
    context.part.write("eval_items", ())
    answers = iter(entries)
    judged_answers = 0
    spares = context.call.config.get("votes_asked") == "until_decided"
    async for judged in judge_all(
        subjects,
        refiner_of(context, (prompt for prompt, _ in entries), log),
        context.call.seed,
        max_requests_in_flight=limit,
        wanted=A_NO_IN_FULL if spares else EVERY_VOTE,
    ):
        prompt, answer = next(answers)
        judged_answers += 1
        verdict = None if judged.judgement is None else judged.judgement.verdict
        detail = {
            "source": prompt.source,
            "judged": None if verdict is None else str(verdict),
            "tokens": sum(
                sum(log.tokens.get(seed, ())) for seed in {seed for vote in judged.votes for seed in vote.seeds}
            ),
        }
        item = _item(context, NOT_SEARCHED, answer.response_id, prompt, float(is_right(prompt, answer.text)), detail)
        context.part.write("eval_items", [item])
        if judged.judgement is not None and verdict is Verdict.NO:
            context.part.write("roots", [Root.create(prompt, answer, judged.judgement)])
    return ShardRows(len(entries), judged_answers)


def _search(context: ShardContext) -> ShardRows:
    return asyncio.run(_search_all(context))


async def _search_all(context: ShardContext) -> ShardRows:
    """Search from this shard's roots and write the outcome of every budget for every prompt, searched from or not."""
    config = SearchConfig.model_validate(context.call.config["search"])
    log = TokenLog(context.engine("refiner"))
    orchestration = context.call.surroundings.orchestration
    found: dict[str, tuple[SearchResult, list[int]]] = {}
    prompts = {prompt.prompt_id: prompt for prompt in context.read("prompts", "eval_prompts")}
    async for result in run_trees(
        context.read("start", "roots"),
        refiner_of(context, prompts.values(), log),
        config,
        context.call.seed,
        max_trees_in_flight=orchestration.trees_in_flight,
        max_requests_in_flight=orchestration.requests_in_flight,
        ordered=True,
    ):
        found[result.tree.prompt_id] = result, node_tokens(result, log.tokens)
    entries = list(context.read("start", "eval_items"))
    context.part.write("eval_items", ())
    for budget in context.call.config["budgets"]:
        for entry in entries:
            items = _outcome(context, config, budget, entry, prompts[entry.cluster_id], found.get(entry.cluster_id))
            context.part.write("eval_items", items)
    return ShardRows(len(entries), len(entries), unasked=len(entries) - len(found))


def _outcome(
    context: ShardContext,
    config: SearchConfig,
    budget: int,
    entry: EvalItem,
    prompt: Prompt,
    searched: tuple[SearchResult, list[int]] | None,
) -> list[EvalItem]:
    """Truth and cost of one prompt's final answer under one budget."""
    value, tokens = entry.value, json.loads(entry.detail)["tokens"]
    detail: dict[str, Any] = {"source": prompt.source, "searched": searched is not None}
    if searched is not None:
        stopped = stopped_at(searched[0], budget, config, searched[1])
        value, tokens = float(is_right(prompt, stopped.final.response)), tokens + stopped.tokens
        detail |= {"accepted": stopped.accepted, "depth": stopped.final.depth, "nodes": stopped.nodes}
    place = f"{config.strategy}/{budget}"
    return [
        _item(context, f"search_accuracy/{place}", entry.item_id, prompt, value, detail),
        _item(context, f"search_tokens/{place}", entry.item_id, prompt, float(tokens), detail),
    ]


def _scores(context: ShardContext) -> ShardRows:
    """Every metric over all prompts, bootstrapped by prompt; accuracies also by the prompts' source."""
    items = [item for ref in context.call.inputs.values() for item in ref.read("eval_items")]
    by_metric: dict[str, list[EvalItem]] = defaultdict(list)
    for item in items:
        by_metric[item.metric].append(item)
    first = {item.cluster_id: item for item in by_metric[NOT_SEARCHED]}
    scores = []
    for metric, group in by_metric.items():
        scores += _means(context, metric, group)
        if metric.startswith("search_accuracy/") and metric != NOT_SEARCHED:
            known = [item for item in group if item.value is not None]
            clusters = [item.cluster_id for item in known]
            before = [first[cluster].value or 0.0 for cluster in clusters]
            gain = paired_difference(before, [item.value or 0.0 for item in known], clusters)
            scores.append(_score(context, metric.replace("search_accuracy", "search_gain", 1), gain))
    context.part.write("eval_scores", scores)
    return ShardRows(sum(ref.rows["eval_items"] for ref in context.call.inputs.values()), len(items))


def _means(context: ShardContext, metric: str, items: Sequence[EvalItem]) -> list[EvalScore]:
    groups = {metric: list(items)}
    sources = sorted({_source(item) for item in items})
    if len(sources) > 1 and metric.startswith("search_accuracy/"):
        groups |= {f"{metric}/{source}": [item for item in items if _source(item) == source] for source in sources}
    scores = []
    for name, group in groups.items():
        known = [(item.value, item.cluster_id) for item in group if item.value is not None]
        if known:
            values, clusters = [value for value, _ in known], [cluster for _, cluster in known]
            span = SHARE if metric.startswith("search_accuracy/") else None  # tokens know no greatest number
            scores.append(_score(context, name, clustered_mean(values, clusters, span)))
    return scores


def _first_answers(context: ShardContext) -> Iterator[tuple[Prompt, Response]]:
    """The first answer to each of the first prompts of this shard: an equal share of the prompts per shard."""
    share = context.share(context.call.config["prompts"], "answers")
    prompts = {prompt.prompt_id: prompt for prompt in context.read("prompts", "eval_prompts")}
    first = (answer for answer in context.read("answers", "eval_responses") if answer.sample_index == 0)
    for _, answer in zip(range(share), first, strict=False):
        yield prompts[answer.prompt_id], answer


def _item(
    context: ShardContext, metric: str, subject: str, prompt: Prompt, value: float | None, detail: dict[str, Any]
) -> EvalItem:
    digests = [context.call.models[role].digest for role in ("actor", "refiner")]
    item_id = content_id("eval", BENCHMARK, metric, digests, subject)
    text = json.dumps(detail, sort_keys=True)
    return EvalItem(BENCHMARK, "actor", digests[0], item_id, prompt.prompt_id, metric, value, text)


def _score(context: ShardContext, metric: str, estimate: Estimate) -> EvalScore:
    return score_record(BENCHMARK, "actor", context.call.models["actor"].digest, metric, estimate)


def _source(item: EvalItem) -> str:
    return str(json.loads(item.detail)["source"]).rpartition("/")[2]


SEARCH_START = Stage("search_start", version=2, work=_start, sharded_by="answers")
SEARCH_CURVE = Stage("search_curve", version=3, work=_search, sharded_by="start", rows_of=("start", "eval_items"))
SEARCH_SCORES = Stage("search_scores", version=2, work=_scores)
