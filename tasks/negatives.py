"""Stage `negatives`: per prompt one failing answer, the root of a tree. Rows are prompts."""

from spar_core.data import choose_negatives
from spar_core.data.negatives import PassBand
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.stages import Stage


def _work(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    negatives = choose_negatives(
        inputs["prompts"].read("prompts"),
        inputs["responses"].read("responses"),
        inputs["judgements"].read("judgements"),
        run_seed=call.seed,
        max_negatives=call.config["max_negatives"],
        band=PassBand(*call.config["band"]) if "band" in call.config else None,
    )
    write_in_parts(context, "roots", negatives.roots)
    context.part.write("drops", negatives.drops)
    return ShardRows(inputs["prompts"].rows["prompts"], len(negatives.roots))


NEGATIVES = Stage("negatives", version=1, work=_work, splits=True)
