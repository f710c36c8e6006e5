"""Stages that read training data given by a user: supervised examples per role, and preference pairs."""

import logging
from collections.abc import Iterator
from typing import Any, get_args

from spar_core.data.example_files import read_examples, read_pairs
from spar_core.data.given_source import DataSource, find_files
from spar_core.records import Drop, ModelRole
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

_log = logging.getLogger(__name__)
_BATCH = 1000


def _examples(context: ShardContext) -> ShardRows:
    config = context.call.config
    rows = read_examples(
        _source(context),
        config["role"],
        skip_bad=config["skip_bad"],
        prompt_set=context.call.surroundings.prompt_set,
    )
    return _written(context, "refiner_examples", rows)


def _pairs(context: ShardContext) -> ShardRows:
    rows = read_pairs(_source(context), skip_bad=context.call.config["skip_bad"])
    return _written(context, "given_pairs", rows)


def _source(context: ShardContext) -> str:
    location = context.call.files["data"].location
    left_out = find_files(DataSource.parse(location)).left_out
    if left_out:
        _log.warning("left out, as they are named for a held-out split: %s", ", ".join(left_out))
    return location


def _written(context: ShardContext, table: str, rows: Iterator[Any]) -> ShardRows:
    waiting: dict[str, list[Any]] = {table: [], "drops": []}
    kept = lost = 0
    for row in rows:
        is_drop = isinstance(row, Drop)
        lost, kept = lost + is_drop, kept + (not is_drop)
        batch = waiting["drops" if is_drop else table]
        batch.append(row)
        if len(batch) >= _BATCH:
            context.part.write("drops" if is_drop else table, batch)
            batch.clear()
    for name, batch in waiting.items():
        context.part.write(name, batch)
    return ShardRows(kept + lost, kept)


GIVEN_EXAMPLES = {role: Stage(f"given_examples_{role}", version=1, work=_examples) for role in get_args(ModelRole)}
GIVEN_PAIRS = Stage("given_pairs", version=1, work=_pairs)
