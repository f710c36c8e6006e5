"""Stages for searching any prompts: read them, and answer those that came without an answer."""

import asyncio

from spar_core.config.method import ResponsesConfig
from spar_core.hashing import content_id
from spar_core.records import Drop, Prompt, Response
from spar_core.roles import Actor, respond_all
from spar_core.synthesis.sources import PromptRow, read_prompt_rows
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.stages import Stage

GIVEN = "given"


def _read(context: ShardContext) -> ShardRows:
    """Prompts of the user's file; equal prompts are one, answers given to them are all kept."""
    prompts: dict[str, Prompt] = {}
    drops: list[Drop] = []
    answers: list[Response] = []
    rows = 0
    for row in read_prompt_rows(context.call.files["prompts"].location, skip_bad=context.call.config["skip_bad"]):
        rows += 1
        if isinstance(row, Drop):
            drops.append(row)
            continue
        known = prompts.setdefault(row.prompt.prompt_id, row.prompt)
        if known is not row.prompt and row.response is None:
            drops.append(Drop("search_prompts", row.prompt.prompt_id, "duplicate"))
        if row.response is not None:
            answers.append(_given(row, len(answers)))
    extra = rows - len(drops) - len(prompts)  # further answers to a prompt that stands already
    given: dict[str, list[Response]] = {}
    for answer in answers:
        given.setdefault(answer.prompt_id, []).append(answer)
    beside = {"responses": lambda part: [answer for prompt in part for answer in given.get(prompt.prompt_id, ())]}
    write_in_parts(context, "prompts", list(prompts.values()), beside=beside)
    context.part.write("drops", drops)
    return ShardRows(rows, len(prompts) + extra)


def _given(row: PromptRow, index: int) -> Response:
    text = row.response or ""
    response_id = content_id("response", row.prompt.prompt_id, GIVEN, index, text)
    return Response(response_id, row.prompt.prompt_id, index, text, "stop", 0, 0, GIVEN, 0)


def _answer(context: ShardContext) -> ShardRows:
    return asyncio.run(_respond(context))


async def _respond(context: ShardContext) -> ShardRows:
    prompts = list(context.read("prompts", "prompts"))
    given = list(context.read("prompts", "responses"))
    context.part.write("responses", given)
    answered = {response.prompt_id for response in given}
    lacking = [prompt for prompt in prompts if prompt.prompt_id not in answered]
    if "actor" not in context.call.models:
        drops = [Drop("responses", prompt.prompt_id, "no_actor", "no answer given, no --actor") for prompt in lacking]
        context.part.write("drops", drops)
        return ShardRows(len(prompts), len(answered))
    actor = Actor(context.engine("actor"), ResponsesConfig.model_validate(context.call.config["responses"]))
    lost = 0
    async for result in respond_all(lacking, actor, context.call.seed):
        context.part.write("responses", result.responses)
        if result.drop is not None:
            lost += 1
            context.part.write("drops", [result.drop])
    return ShardRows(len(prompts), len(prompts) - lost, unasked=len(answered))


SEARCH_PROMPTS = Stage("search_prompts", version=1, work=_read, splits=True)
SEARCH_RESPONSES = Stage(
    "search_responses", version=1, work=_answer, sharded_by="prompts", rows_of=("prompts", "prompts")
)
