"""Stages `pairs`, `refiner_data` and `judge_pairs`: what the actor and the refiner learn from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, cast

from spar_core.config.method import RefinerDataConfig
from spar_core.config.pairs import PairsConfig
from spar_core.data import IterationRecords, Pairs, build_refiner_data, judge_pairs
from spar_core.data.pairs import STAGE as PAIRS_STAGE
from spar_core.data.seeded_choice import Cap
from spar_core.methods import method
from spar_core.methods.plugin import PairsMethod, Rows
from spar_core.prompts import PromptLibrary
from spar_core.records import PreferencePair, Prompt, RefinerExample
from storage.artifacts import ArtifactRef
from tasks.prompt_parts import prompts_of
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

FURTHER: Final = "more_"
"""Before the name of an input: further rows of that input."""
_PRODUCTS: Final = {"tree_nodes": "trees", "rubric_scores": "scores"}
"""The input a table is read of, where it has another name."""


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of one part of an input, read anew each time."""

    artifact: ArtifactRef
    table: str
    part: int

    def __iter__(self) -> Iterator[Any]:
        return self.artifact.read(self.table, part=self.part)


@dataclass(frozen=True, slots=True)
class _PromptsOfTrees:
    """The prompts of some trees, read anew each time."""

    artifact: ArtifactRef
    trees: _Table

    def __iter__(self) -> Iterator[Prompt]:
        return iter(prompts_of(self.artifact, (tree.prompt_id for tree in self.trees)))


def _pairs(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    config = PairsConfig.model_validate(call.config["pairs"])
    chosen = cast("PairsMethod", method(config.method))
    pieces, cap = [Rows(lambda table: _read(context, table))], Cap(None, call.seed, PAIRS_STAGE)
    if chosen.piecewise:
        pieces = [Rows(tables.__getitem__) for tables in _trees_by_part(inputs)]
        cap = Cap(config.max_pairs, call.seed, PAIRS_STAGE)
        config = config.model_copy(update={"max_pairs": None})

    def made() -> Iterator[Pairs]:
        return (chosen.pairs(rows, config, run_seed=call.seed) for rows in pieces)

    if cap.limit is not None:
        for pair in (pair for found in made() for pair in found.pairs):
            cap.count(*_ids(pair))
    kept = 0
    context.part.write("preference_pairs", ())
    for found in made():
        pairs = [pair for pair in found.pairs if cap.keeps(*_ids(pair))]
        kept += len(pairs)
        context.part.write("preference_pairs", pairs)
        context.part.write("drops", found.drops)
    context.part.write("drops", cap.drops())
    rows = inputs["trees"].rows["trees"] if "trees" in inputs else inputs["prompts"].rows["prompts"]
    return ShardRows(rows, kept)


def _ids(pair: PreferencePair) -> tuple[str, str]:
    """Of a pair's row, and of what decides whether a cap keeps it."""
    return pair.tree_id or pair.prompt_id, pair.prompt_id


def _trees_by_part(inputs: Mapping[str, ArtifactRef]) -> list[dict[str, Iterable[Any]]]:
    """The trees of each part, with their nodes and prompts."""
    searched = inputs["trees"]
    parts = range(len(searched.manifest().parts))
    trees, nodes = ([_Table(searched, table, part) for part in parts] for table in ("trees", "tree_nodes"))
    prompts = (_PromptsOfTrees(inputs["prompts"], own) for own in trees)
    return [
        {"prompts": told, "trees": own, "tree_nodes": grown}
        for told, own, grown in zip(prompts, trees, nodes, strict=True)
    ]


def _read(context: ShardContext, table: str) -> Iterable[Any]:
    name, inputs = _PRODUCTS.get(table, table), context.call.inputs
    further = inputs[FURTHER + name].read(table) if FURTHER + name in inputs else ()
    return chain(inputs[name].read(table), further)


def _refiner_data(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    context.part.write("refiner_examples", ())
    made = build_refiner_data(
        [*_searched(inputs), *_judged(inputs, ""), *_judged(inputs, FURTHER)],
        PromptLibrary.load(call.surroundings.prompt_set),
        RefinerDataConfig.model_validate(call.config["refiner_data"]),
        run_seed=call.seed,
        replay=_replay(inputs["replay"]) if "replay" in inputs else (),
        on_drop=lambda drop: context.part.write("drops", [drop]),
    )
    context.part.write("refiner_examples", made.examples)
    context.part.write("drops", made.drops)
    return ShardRows(made.rows_in, len(made.examples))


def _searched(inputs: Mapping[str, ArtifactRef]) -> list[IterationRecords]:
    """The trees of each part; none where nothing was searched."""
    found = _trees_by_part(inputs) if "trees" in inputs else []
    return [IterationRecords(of["prompts"], (), (), of["trees"], of["tree_nodes"]) for of in found]


def _judged(inputs: Mapping[str, ArtifactRef], which: str) -> list[IterationRecords]:
    """The answers of each part, their judgements and prompts. `which`: the first, or `FURTHER` ones."""
    if which + "judgements" not in inputs:
        return []
    prompts, responses, judgements = (inputs[name] for name in ("prompts", which + "responses", which + "judgements"))
    return [
        IterationRecords(
            _Table(prompts, "prompts", part),
            _Table(responses, "responses", part),
            _Table(judgements, "judgements", part),
            (),
            (),
        )
        for part in range(len(prompts.manifest().parts))
    ]


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


PAIRS = Stage("pairs", version=3, work=_pairs)
REFINER_DATA = Stage("refiner_data", version=2, work=_refiner_data)
JUDGE_PAIRS = Stage("judge_pairs", version=2, work=_judge_pairs)
