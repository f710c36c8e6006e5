"""Stages `pairs` and `refiner_data`: what the actor and the refiner learn from."""

from spar_core.config.method import PairsConfig, RefinerDataConfig
from spar_core.data import IterationRecords, build_refiner_data, pairs_from_samples, pairs_from_trees
from spar_core.prompts import PromptLibrary
from spar_core.records import RefinerExample
from storage.artifacts import ArtifactRef
from tasks.stages import ShardContext, ShardRows, Stage


def _pairs(context: ShardContext) -> ShardRows:
    inputs, seed = context.call.inputs, context.call.seed
    config = PairsConfig.model_validate(context.call.config["pairs"])
    prompts = inputs["prompts"].read("prompts")
    if config.method == "spar":
        trees = inputs["trees"]
        made = pairs_from_trees(prompts, trees.read("trees"), trees.read("tree_nodes"), config, run_seed=seed)
    else:
        responses, judgements = inputs["responses"].read("responses"), inputs["judgements"].read("judgements")
        made = pairs_from_samples(prompts, responses, judgements, config, run_seed=seed)
    context.part.write("preference_pairs", made.pairs)
    context.part.write("drops", made.drops)
    return ShardRows(len(made.pairs) + len(made.drops), len(made.pairs))


def _refiner_data(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    searched = inputs.get("trees")
    records = IterationRecords(
        prompts=inputs["prompts"].read("prompts"),
        responses=inputs["responses"].read("responses"),
        judgements=inputs["judgements"].read("judgements"),
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


PAIRS = Stage("pairs", version=1, work=_pairs)
REFINER_DATA = Stage("refiner_data", version=1, work=_refiner_data)
