"""Stage `negatives`: per prompt one failing answer, the root of a tree. Rows are prompts."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spar_core.data import Negatives, choose_negatives
from spar_core.data.negatives import STAGE, PassBand
from spar_core.data.seeded_choice import Cap
from spar_core.records import Judgement
from spar_core.search.root import Root
from storage.artifacts import ArtifactRef
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.stages import Stage


def _work(context: ShardContext) -> ShardRows:
    """Part by part, since what is chosen for a prompt follows from its own answers; only the cap knows all prompts."""
    call, limit = context.call, context.call.config["max_negatives"]
    cap = Cap(limit, call.seed, STAGE)
    if limit is not None:
        for root in (root for found in _chosen(context) for root in found.roots):
            cap.count(root.prompt_id, root.prompt_id)

    def kept() -> Iterator[Root]:
        for found in _chosen(context):
            context.part.write("drops", found.drops)
            yield from (root for root in found.roots if cap.keeps(root.prompt_id, root.prompt_id))

    context.part.write("roots", ())
    roots = write_in_parts(context, "roots", kept())
    context.part.write("drops", cap.drops())
    return ShardRows(call.inputs["prompts"].rows["prompts"], roots)


def _chosen(context: ShardContext) -> Iterator[Negatives]:
    """The negatives of each part of the prompts: answers and judgements were written in the same parts."""
    inputs, call = context.call.inputs, context.call
    for part in range(len(inputs["prompts"].manifest().parts)):
        judgements = inputs["judgements"].read("judgements", part=part)
        yield negatives_of(inputs, judgements, part, call.seed, call.config)


def negatives_of(
    inputs: Mapping[str, ArtifactRef],
    judgements: Iterable[Judgement],
    part: int,
    seed: int,
    choosing: Mapping[str, Any],
) -> Negatives:
    """The negatives of a part of the prompts, whose answers are judged; before the cap, which knows all prompts.

    `choosing`: the stage's configuration.
    """
    prompts, responses = (inputs[table].read(table, part=part) for table in ("prompts", "responses"))
    band = PassBand(*choosing["band"]) if "band" in choosing else None
    whole_first = choosing.get("roots") == "whole"
    return choose_negatives(prompts, responses, judgements, run_seed=seed, band=band, whole_first=whole_first)


NEGATIVES = Stage("negatives", version=1, work=_work, splits=True)
