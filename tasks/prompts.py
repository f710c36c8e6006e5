"""Stage `prompts`: the self-play prompts of one iteration."""

from spar_core.config.run import PromptsConfig
from spar_core.hashing import derive_seed
from spar_core.starter.world import generate_prompts
from tasks.stages import ShardContext, ShardRows, Stage, write_in_parts


def _work(context: ShardContext) -> ShardRows:
    config = PromptsConfig.model_validate(context.call.config["prompts"])
    iteration = context.call.config["iteration"]
    seed = derive_seed(context.call.seed, "prompts", str(iteration))
    prompts = generate_prompts(config.per_iteration, seed, "train")
    write_in_parts(context, "prompts", prompts, context.call.surroundings.orchestration.shard_size)
    context.part.write("drops", [])
    return ShardRows(len(prompts), len(prompts))


PROMPTS = Stage("prompts", version=1, work=_work, splits=True)
