"""Stage `judgements`: the refiner's votes on every response. Rows are responses."""

import asyncio
from collections.abc import Iterable

from spar_core.config.method import JudgingConfig, RefinementConfig
from spar_core.engines.base import Engine
from spar_core.evaluation.truth import anchor_of, constraints_in_words
from spar_core.prompts import PromptLibrary
from spar_core.records import Prompt
from spar_core.roles import Refiner, Subject, judge_all
from spar_core.roles.ballot import A_MAJORITY, EVERY_VOTE
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

SECOND_VOTER = "second_voter"


def _work(context: ShardContext) -> ShardRows:
    return asyncio.run(_judge(context))


async def _judge(context: ShardContext) -> ShardRows:
    prompts = list(context.read("prompts", "prompts"))
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    subjects = (Subject(texts[response.prompt_id], response) for response in context.read("responses", "responses"))
    limit = context.call.surroundings.orchestration.requests_in_flight
    context.part.write("votes", ())
    context.part.write("judgements", ())
    responses = decided = 0
    equal_texts = JudgingConfig.model_validate(context.call.config["judging"]).equal_texts
    spares = context.call.config.get("votes_asked") == "until_decided"
    async for result in judge_all(
        subjects,
        refiner_of(context, prompts),
        context.call.seed,
        max_requests_in_flight=limit,
        equal_texts=equal_texts,
        wanted=A_MAJORITY if spares else EVERY_VOTE,
    ):
        responses += 1
        context.part.write("votes", result.votes)
        if result.judgement is not None:
            decided += 1
            context.part.write("judgements", [result.judgement])
        elif result.drop is not None:
            context.part.write("drops", [result.drop])
    return ShardRows(responses, decided)


def refiner_of(
    context: ShardContext,
    prompts: Iterable[Prompt] = (),
    engine: Engine | None = None,
    judging: JudgingConfig | None = None,
) -> Refiner:
    """The stage's refiner, as its configuration says.

    `prompts`: whose constraints `judging.anchor` may decide on, and a prompt set may ask about one by one. Stages that
    measure the refiner have no anchor, so that its votes alone are measured. `engine`: in place of the one that serves
    the refiner. `judging`: in place of the configuration's.
    """
    config = context.call.config
    judging = judging or JudgingConfig.model_validate(config["judging"])
    prompts, second = list(prompts), None
    if SECOND_VOTER in context.call.models:
        context.keep_together("refiner", SECOND_VOTER)
        second = context.engine(SECOND_VOTER)
    return Refiner(
        engine or context.engine("refiner"),
        PromptLibrary.load(context.call.surroundings.prompt_set),
        judging,
        RefinementConfig.model_validate(config.get("refinement", {})),
        anchor_of(judging, prompts),
        second,
        context.watch(),
        constraints_in_words(prompts),
    )


JUDGEMENTS = Stage("judgements", version=3, work=_work, sharded_by="responses", rows_of=("responses", "responses"))
