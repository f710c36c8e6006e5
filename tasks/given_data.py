"""Stages that read training data given by a user: supervised examples per role, and preference pairs."""

from collections.abc import Iterator
from typing import Any, get_args

from spar_core.data.example_files import read_examples, read_pairs
from spar_core.records import Drop, ModelRole
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage


def _examples(context: ShardContext) -> ShardRows:
    config = context.call.config
    rows = read_examples(
        context.call.files["data"].location,
        config["role"],
        skip_bad=config["skip_bad"],
        prompt_set=context.call.surroundings.prompt_set,
    )
    return _written(context, "refiner_examples", rows)


def _pairs(context: ShardContext) -> ShardRows:
    rows = read_pairs(context.call.files["data"].location, skip_bad=context.call.config["skip_bad"])
    return _written(context, "given_pairs", rows)


def _written(context: ShardContext, table: str, rows: Iterator[Any]) -> ShardRows:
    lost = kept = 0
    context.part.write(table, ())
    context.part.write("drops", ())
    for row in rows:
        if isinstance(row, Drop):
            lost += 1
            context.part.write("drops", (row,))
        else:
            kept += 1
            context.part.write(table, (row,))
    return ShardRows(kept + lost, kept)


GIVEN_EXAMPLES = {role: Stage(f"given_examples_{role}", version=1, work=_examples) for role in get_args(ModelRole)}
GIVEN_PAIRS = Stage("given_pairs", version=2, work=_pairs)
