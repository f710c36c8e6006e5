"""Stage `warm_start_examples`: what the rule-based teacher has the roles learn from in iteration 0."""

from typing import get_args

from spar_core.hashing import derive_seed
from spar_core.prompts import PromptLibrary
from spar_core.records import ModelRole
from spar_core.starter.teacher import warm_start_examples
from tasks.shards import ShardContext, ShardRows
from tasks.sources import STARTER_WORLD
from tasks.stages import Stage


def _work(context: ShardContext) -> ShardRows:
    config = context.call.config
    role: ModelRole = config["role"]
    seed = derive_seed(context.call.seed, "warm_start", role)
    texts = PromptLibrary.load(context.call.surroundings.prompt_set)
    examples = warm_start_examples(role, config["count"], seed, texts)
    context.part.write("refiner_examples", examples)
    return ShardRows(len(examples), len(examples))


WARM_START_EXAMPLES = {
    role: Stage(
        f"warm_start_examples_{role}", version=1, work=_work, data=(*STARTER_WORLD, "spar_core.prompts/starter")
    )
    for role in get_args(ModelRole)
}
