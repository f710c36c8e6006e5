"""Stage `responses`: the actor answers every prompt. Rows are prompts."""

import asyncio

from spar_core.config.method import ResponsesConfig
from spar_core.roles import Actor, respond_all
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage


def _work(context: ShardContext) -> ShardRows:
    return asyncio.run(_respond(context))


async def _respond(context: ShardContext) -> ShardRows:
    config = context.call.config
    sampling = ResponsesConfig.model_validate(config["responses"])
    actor = Actor(context.engine("actor"), sampling, context.watch(), first=config.get("first", 0))
    limit = context.call.surroundings.orchestration.requests_in_flight
    context.part.write("responses", ())
    prompts = answered = 0
    async for result in respond_all(
        context.read("prompts", "prompts"), actor, context.call.seed, max_requests_in_flight=limit
    ):
        prompts += 1
        if result.drop is None:
            answered += 1
            context.part.write("responses", result.responses)
        else:
            context.part.write("drops", [result.drop])
    return ShardRows(prompts, answered)


RESPONSES = Stage("responses", version=1, work=_work, sharded_by="prompts", rows_of=("prompts", "prompts"))
