"""Stages that measure models on held-out prompts whose truth a checker knows. Nothing here feeds training."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from spar_core.config.method import JudgingConfig, ResponsesConfig, SearchConfig
from spar_core.evaluation.hack_rate import Said, hacks
from spar_core.evaluation.judged_texts import FIRST_ANSWERS, REWRITES, Ballot
from spar_core.evaluation.measures import (
    FIX_IN_USE,
    Measured,
    answer_item,
    fix_item,
    hack_item,
    pair_item,
    rewrite_items,
    self_play_measures,
    vote_item,
)
from spar_core.evaluation.truth import is_checkable, is_right
from spar_core.records import EvalItem, Prompt, Response, Verdict
from spar_core.roles import Actor, Subject, judge_all, respond_all
from spar_core.search.root import Root
from spar_core.search.scheduler import run_trees
from spar_core.search.tree_search import SearchResult
from spar_core.starter.world import generate_prompts
from spar_core.synthesis.sources import seed_prompts
from spar_core.synthesis.verifiable import COUNTS, verifiable_prompts
from tasks.judge_votes import is_rewrite
from tasks.judgements import refiner_of
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.sources import SEED_PROMPTS, STARTER_WORLD
from tasks.stages import Stage

_ITEMS = ("actor", "refiner", "votes")  # inputs whose items are scored


def _prompts(context: ShardContext) -> ShardRows:
    config = context.call.config
    counts = tuple(config["constraints"]) if "constraints" in config else None
    if config["source"] == "starter":
        prompts = generate_prompts(config["count"], context.call.seed, config["split"], counts=counts)
    else:
        instructions, numbers = seed_prompts(config["split"]), range(config["count"])
        seed, split, kinds = context.call.seed, config["split"], config.get("kinds")
        prompts = list(verifiable_prompts(instructions, numbers, seed, split, counts or COUNTS, only=kinds))
    write_in_parts(context, "eval_prompts", prompts)
    return ShardRows(len(prompts), len(prompts))


def _actor(context: ShardContext) -> ShardRows:
    return asyncio.run(_answer(context))


async def _answer(context: ShardContext) -> ShardRows:
    config = context.call.config
    sampling = ResponsesConfig(**config["sampling"], per_prompt=config["samples"])
    who = Measured("actor", context.call.models["actor"].digest)
    context.part.write("eval_responses", ())
    prompts = answered = 0
    limit = context.call.surroundings.orchestration.requests_in_flight
    actor = Actor(context.engine("actor"), sampling, system=config.get("system", ""))
    held_out = context.read("prompts", "eval_prompts")
    async for result in respond_all(held_out, actor, context.call.seed, max_requests_in_flight=limit):
        prompts += 1
        if result.drop is not None:
            context.part.write("drops", [result.drop])
            continue
        answered += 1
        context.part.write("eval_responses", result.responses)
        items = [answer_item(who, result.prompt, answer) for answer in result.responses]
        context.part.write("eval_items", _told(context, items))
    return ShardRows(prompts, answered)


def _refiner(context: ShardContext) -> ShardRows:
    return asyncio.run(_judge_and_repair(context))


async def _judge_and_repair(context: ShardContext) -> ShardRows:
    """Measure the refiner on this shard's share of the held-out answers, by its own votes and as self-play uses it.

    A refiner whose votes self-play never asks for is measured in its use alone, and the trees are those of it.
    """
    config = context.call.config
    prompts = {prompt.prompt_id: prompt for prompt in context.read("prompts", "eval_prompts")}
    answers = [(prompts[answer.prompt_id], answer) for answer in _first_answers(context)]
    failing = [(prompt, answer) for prompt, answer in answers if not is_right(prompt, answer.text)]
    who = Measured("refiner", context.call.models["refiner"].digest)
    for table in ("eval_items", "eval_trees", "eval_tree_nodes"):
        context.part.write(table, ())
    judged = len(answers)
    if "judging" in config:
        judged = await _judged_and_mended(context, who, answers, failing)
    if "judging_in_use" in config:
        trees = await _mended_in_use(context, failing)
        mended = {result.tree.root_response_id: result.accepted for result in trees}
        items = [fix_item(who, prompt, said, mended.get(said.response_id), FIX_IN_USE) for prompt, said in failing]
        context.part.write("eval_items", _told(context, items))
        if "judging" not in config:
            _write_trees(context, trees)
    return ShardRows(len(answers), judged)


async def _judged_and_mended(
    context: ShardContext,
    who: Measured,
    answers: Sequence[tuple[Prompt, Response]],
    failing: Sequence[tuple[Prompt, Response]],
) -> int:
    """Judge answers by votes; search from those that truly fail and were called so. How many were judged.

    The votes the searches gave on their rewrites are measured as well.
    """
    asked = {answer.response_id: prompt for prompt, answer in answers}
    refiner = refiner_of(context, (prompt for prompt, _ in answers))
    subjects = (Subject(prompt.text, answer) for prompt, answer in answers)
    fails = {answer.response_id for _, answer in failing}
    roots: list[Root] = []
    judged_answers = 0
    async for judged in judge_all(subjects, refiner, context.call.seed):
        judged_answers += 1
        prompt = asked[judged.response.response_id]
        ballot = Ballot.of_votes(judged.votes, decided=judged.judgement is not None)
        item = vote_item(who, FIRST_ANSWERS, prompt, judged.response, ballot)
        context.part.write("eval_items", _told(context, [item]))
        judgement = judged.judgement
        if judgement is not None and judgement.verdict is Verdict.NO and judged.response.response_id in fails:
            roots.append(Root.create(prompt, judged.response, judgement))
    search = SearchConfig.model_validate(context.call.config["search"])
    accepted = {}
    async for result in run_trees(roots, refiner, search, context.call.seed, ordered=True):
        root_id = result.tree.root_response_id
        accepted[root_id] = result.accepted
        own = [(node, Ballot.of_node(node)) for node in result.nodes if is_rewrite(node)]
        items = rewrite_items(who, REWRITES, asked[root_id], own, root_id)
        context.part.write("eval_items", _told(context, items))
        _write_trees(context, [result])
    items = [fix_item(who, prompt, response, accepted.get(response.response_id)) for prompt, response in failing]
    context.part.write("eval_items", _told(context, items))
    return judged_answers


async def _mended_in_use(context: ShardContext, failing: Sequence[tuple[Prompt, Response]]) -> list[SearchResult]:
    """Searches from failing answers that are told what is wrong as in self-play: by rules."""
    config = context.call.config
    judging = JudgingConfig.model_validate(config["judging_in_use"])
    refiner = refiner_of(context, (prompt for prompt, _ in failing), judging=judging)
    asked = {response.response_id: prompt for prompt, response in failing}
    subjects = (Subject(prompt.text, response) for prompt, response in failing)
    roots = [
        Root.create(asked[judged.response.response_id], judged.response, judged.judgement)
        async for judged in judge_all(subjects, refiner, context.call.seed)
        if judged.judgement is not None and judged.judgement.verdict is Verdict.NO
    ]
    search = SearchConfig.model_validate(config["search"])
    return [result async for result in run_trees(roots, refiner, search, context.call.seed, ordered=True)]


def _write_trees(context: ShardContext, results: Iterable[SearchResult]) -> None:
    for result in results:
        context.part.write("eval_trees", [result.tree])
        context.part.write("eval_tree_nodes", result.nodes)


def _told(context: ShardContext, items: Iterable[EvalItem]) -> list[EvalItem]:
    """The items with how the answers were asked for, where that was not as self-play does."""
    settings = context.call.config.get("settings", "")
    return [replace(item, settings=settings) for item in items]


def _first_answers(context: ShardContext) -> Iterator[Response]:
    """The first sample of the first prompts of this shard: an equal share of the items per shard."""
    share = context.share(context.call.config["items"], "answers")
    first = (answer for answer in context.read("answers", "eval_responses") if answer.sample_index == 0)
    for _, answer in zip(range(share), first, strict=False):
        yield answer


def _scores(context: ShardContext) -> ShardRows:
    inputs, models = context.call.inputs, context.call.models
    actor, refiner = Measured("actor", models["actor"].digest), Measured("refiner", models["refiner"].digest)
    found = [*_pair_items(context, actor), *_hack_items(context, actor)]
    context.part.write("eval_items", found)
    actor_items: list[EvalItem] = [*inputs["actor"].read("eval_items"), *found]
    scores, missing = self_play_measures(actor, actor_items)
    judged = [item for name in _ITEMS[1:] if name in inputs for item in inputs[name].read("eval_items")]
    if judged:
        of_refiner = self_play_measures(refiner, judged)
        scores, missing = scores + of_refiner.scores, missing + of_refiner.missing
    context.part.write("eval_items", missing)
    context.part.write("eval_scores", scores)
    read = len(actor_items) - len(found) + len(judged)
    return ShardRows(sum(inputs[name].rows["eval_items"] for name in _ITEMS if name in inputs), read)


def _pair_items(context: ShardContext, actor: Measured) -> Iterator[EvalItem]:
    """Truth of the iteration's pairs, where their prompts are checkable."""
    inputs = context.call.inputs
    if "pairs" not in inputs:
        return
    prompts = {prompt.prompt_id: prompt for prompt in inputs["prompts"].read("prompts") if is_checkable(prompt)}
    for pair in inputs["pairs"].read("preference_pairs"):
        if pair.prompt_id in prompts:
            yield pair_item(actor, prompts[pair.prompt_id], pair)


def _hack_items(context: ShardContext, actor: Measured) -> Iterator[EvalItem]:
    """The right answers, and which of them trip a wire; where the held-out prompts are given."""
    inputs = context.call.inputs
    if "held_out" not in inputs:
        return
    prompts = {prompt.prompt_id: prompt for prompt in inputs["held_out"].read("eval_prompts")}
    answers = inputs["actor"].read("eval_responses")
    for hack in hacks(prompts, (Said(each.response_id, each.prompt_id, each.text) for each in answers)):
        yield hack_item(actor, hack)


EVAL_PROMPTS = Stage("eval_prompts", version=2, work=_prompts, splits=True, data=(*STARTER_WORLD, *SEED_PROMPTS))
EVAL_ACTOR = Stage("eval_actor", version=1, work=_actor, sharded_by="prompts", rows_of=("prompts", "eval_prompts"))
EVAL_REFINER = Stage("eval_refiner", version=4, work=_refiner, sharded_by="answers")
SCORES = Stage("eval_scores", version=6, work=_scores)
