"""Stages `rubric_scores` and `meta_judgements`: scores by an additive rubric, and comparisons of the scoring texts.

Rows of the first are responses, of the second prompts: per prompt the response whose scores vary most is compared.
"""

import asyncio
from collections.abc import Iterator

from spar_core.config.method import JudgingConfig
from spar_core.data import most_contested
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop, RubricVote
from spar_core.roles import Subject
from spar_core.roles.scorer import Contest, Scorer, comparable, compare_all, score_all
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

SCORES_STAGE = "rubric_scores"
META_STAGE = "meta_judgements"


def _score(context: ShardContext) -> ShardRows:
    return asyncio.run(_score_responses(context))


async def _score_responses(context: ShardContext) -> ShardRows:
    texts = {prompt.prompt_id: prompt.text for prompt in context.read("prompts", "prompts")}
    subjects = (Subject(texts[response.prompt_id], response) for response in context.read("responses", "responses"))
    limit = context.call.surroundings.orchestration.requests_in_flight
    for table in ("rubric_votes", "rubric_scores"):
        context.part.write(table, ())
    responses = scored = 0
    async for result in score_all(subjects, _scorer(context), context.call.seed, max_requests_in_flight=limit):
        responses += 1
        context.part.write("rubric_votes", result.votes)
        if result.score is not None:
            scored += 1
            context.part.write("rubric_scores", [result.score])
        else:
            reason = result.failure or "not_scored"
            context.part.write("drops", [Drop(SCORES_STAGE, result.response.response_id, reason, result.detail)])
    return ShardRows(responses, scored)


def _meta_judge(context: ShardContext) -> ShardRows:
    return asyncio.run(_compare_judgements(context))


async def _compare_judgements(context: ShardContext) -> ShardRows:
    context.part.write("meta_votes", ())
    drops: list[Drop] = []
    contests = list(_contests(context, drops))
    prompts = len(contests) + len(drops)
    compared = 0
    limit = context.call.surroundings.orchestration.requests_in_flight
    async for result in compare_all(contests, _scorer(context), context.call.seed, max_requests_in_flight=limit):
        if result.failure is None:
            compared += 1
            context.part.write("meta_votes", result.votes)
        else:
            drops.append(Drop(META_STAGE, result.response.prompt_id, result.failure, result.detail))
    context.part.write("drops", drops)
    return ShardRows(prompts, compared)


def _contests(context: ShardContext, drops: list[Drop]) -> Iterator[Contest]:
    """What this shard's prompts have to compare; the others become drops."""
    scores = {score.response_id: score for score in context.read("scores", "rubric_scores")}
    votes: dict[str, list[RubricVote]] = {}
    for vote in context.read("scores", "rubric_votes"):
        votes.setdefault(vote.response_id, []).append(vote)
    chosen = most_contested(context.read("responses", "responses"), scores, context.call.seed)
    limit = JudgingConfig.model_validate(context.call.config["judging"]).votes
    for prompt in context.read("prompts", "prompts"):
        response = chosen.get(prompt.prompt_id)
        if response is None:
            drops.append(Drop(META_STAGE, prompt.prompt_id, "not_scored"))
            continue
        different = comparable(votes[response.response_id], limit)
        if len(different) < 2:
            drops.append(Drop(META_STAGE, prompt.prompt_id, "one_judgement"))
        else:
            yield Contest(prompt.text, response, different)


def _scorer(context: ShardContext) -> Scorer:
    library = PromptLibrary.load(context.call.surroundings.prompt_set)
    return Scorer(context.engine("scorer"), library, JudgingConfig.model_validate(context.call.config["judging"]))


RUBRIC_SCORES = Stage(SCORES_STAGE, version=1, work=_score, sharded_by="responses", rows_of=("responses", "responses"))
META_JUDGEMENTS = Stage(META_STAGE, version=1, work=_meta_judge, sharded_by="responses", rows_of=("prompts", "prompts"))
