"""Stages `pairs`, `refiner_data` and `judge_pairs`: what the actor and the refiner learn from."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, cast

from spar_core.config.method import RefinerDataConfig
from spar_core.config.pairs import PairsConfig
from spar_core.data import (
    IterationRecords,
    build_refiner_data,
    judge_pairs,
)
from spar_core.methods import method
from spar_core.methods.plugin import PairsMethod, Rows
from spar_core.prompts import PromptLibrary
from spar_core.records import RefinerExample
from storage.artifacts import ArtifactRef
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

FURTHER: Final = "more_"
"""Before the name of an input: further rows of that input."""
_PRODUCTS: Final = {"tree_nodes": "trees", "rubric_scores": "scores"}
"""The input a table is read of, where it has another name."""


def _pairs(context: ShardContext) -> ShardRows:
    config = PairsConfig.model_validate(context.call.config["pairs"])
    chosen = cast("PairsMethod", method(config.method))
    made = chosen.pairs(Rows(lambda table: _read(context, table)), config, run_seed=context.call.seed)
    context.part.write("preference_pairs", made.pairs)
    context.part.write("drops", made.drops)
    inputs = context.call.inputs
    rows = inputs["trees"].rows["trees"] if "trees" in inputs else inputs["prompts"].rows["prompts"]
    return ShardRows(rows, len(made.pairs))


def _read(context: ShardContext, table: str) -> Iterable[Any]:
    name, inputs = _PRODUCTS.get(table, table), context.call.inputs
    further = inputs[FURTHER + name].read(table) if FURTHER + name in inputs else ()
    return chain(inputs[name].read(table), further)


def _refiner_data(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    searched = inputs.get("trees")
    records = IterationRecords(
        prompts=inputs["prompts"].read("prompts"),
        responses=_read(context, "responses"),
        judgements=_read(context, "judgements"),
        trees=searched.read("trees") if searched else (),
        nodes=searched.read("tree_nodes") if searched else (),
    )
    made = build_refiner_data(
        records,
        PromptLibrary.load(call.surroundings.prompt_set),
        RefinerDataConfig.model_validate(call.config["refiner_data"]),
        run_seed=call.seed,
        replay=_replay(inputs["replay"]) if "replay" in inputs else (),
    )
    context.part.write("refiner_examples", made.examples)
    context.part.write("drops", made.drops)
    return ShardRows(made.rows_in, len(made.examples))


def _replay(warm_start: ArtifactRef) -> list[RefinerExample]:
    """What may be replayed: the exercises made for it, or where there are none the whole warm start."""
    examples = list(warm_start.read("refiner_examples"))
    return [example for example in examples if example.kind == "replay"] or examples


def _judge_pairs(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    made = judge_pairs(
        inputs["prompts"].read("prompts"),
        inputs["responses"].read("responses"),
        inputs["scores"].read("rubric_votes"),
        inputs["comparisons"].read("meta_votes"),
        PromptLibrary.load(call.surroundings.prompt_set),
        PairsConfig.model_validate(call.config["pairs"]),
        run_seed=call.seed,
    )
    context.part.write("judge_pairs", made.pairs)
    context.part.write("drops", made.drops)
    return ShardRows(inputs["comparisons"].manifest().rows_out, len(made.pairs))


PAIRS = Stage("pairs", version=2, work=_pairs)
REFINER_DATA = Stage("refiner_data", version=2, work=_refiner_data)
JUDGE_PAIRS = Stage("judge_pairs", version=1, work=_judge_pairs)
