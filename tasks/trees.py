"""Stage `trees`: a tree search from every root. Rows are roots."""

import asyncio

from spar_core.config.method import SearchConfig
from spar_core.records import Prompt
from spar_core.search.scheduler import run_trees
from spar_core.search.shares import Uses
from tasks.judgements import refiner_of
from tasks.prompt_parts import prompts_of
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage


def _work(context: ShardContext) -> ShardRows:
    return asyncio.run(_search(context))


async def _search(context: ShardContext) -> ShardRows:
    orchestration = context.call.surroundings.orchestration
    for table in ("trees", "tree_nodes", "tree_votes"):
        context.part.write(table, ())
    trees = 0
    async for result in run_trees(
        context.read("roots", "roots"),
        refiner_of(context, _asked(context)),
        SearchConfig.model_validate(context.call.config["search"]),
        context.call.seed,
        uses=Uses(**context.call.config.get("uses", {})),
        max_trees_in_flight=orchestration.trees_in_flight,
        max_requests_in_flight=orchestration.requests_in_flight,
        ordered=True,
    ):
        trees += 1
        context.part.write("trees", [result.tree])
        context.part.write("tree_nodes", result.nodes)
        context.part.write("tree_votes", result.votes)
    return ShardRows(trees, trees)


def _asked(context: ShardContext) -> list[Prompt]:
    """The prompts of this shard's roots; an input only where their constraints are read."""
    if "prompts" not in context.call.inputs:
        return []
    return prompts_of(context.call.inputs["prompts"], (root.prompt_id for root in context.read("roots", "roots")))


TREES = Stage("trees", version=4, work=_work, sharded_by="roots", rows_of=("roots", "roots"))
