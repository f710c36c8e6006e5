"""Stages `warm_start_examples`, the supervised examples of iteration 0 per role, and `warm_start_roots`, for a teacher.

A teacher's examples are made of artifacts of the stages that asked it (`flows.wiring.teaching` wires them).
"""

import logging
from collections import Counter
from typing import Any, get_args

from spar_core.config.method import RefinerDataConfig
from spar_core.data.refiner_examples import IterationRecords
from spar_core.data.taught import Trust, taught_answers, taught_refiner, taught_roots
from spar_core.errors import FruitlessError
from spar_core.evaluation.truth import rule_verifier
from spar_core.hashing import derive_seed
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop, ModelRole, Prompt
from spar_core.roles.anchor import Verifier
from spar_core.starter.teacher import warm_start_examples
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.sources import STARTER_WORLD
from tasks.stages import Stage

_log = logging.getLogger(__name__)


def _work(context: ShardContext) -> ShardRows:
    config = context.call.config
    role: ModelRole = config["role"]
    if config["source"] == "teacher":
        return _taught(context, role)
    seed = derive_seed(context.call.seed, "warm_start", role)
    texts = PromptLibrary.load(context.call.surroundings.prompt_set)
    examples = warm_start_examples(role, config["count"], seed, texts)
    context.part.write("refiner_examples", examples)
    return ShardRows(len(examples), len(examples))


def _taught(context: ShardContext, role: ModelRole) -> ShardRows:
    config, read = context.call.config, context.call.inputs
    prompts = list(read["prompts"].read("prompts"))
    responses = read["responses"].read("responses")
    if role == "actor":
        examples, drops = taught_answers(prompts, responses, _verifier(config, prompts))
        rows_in = read["responses"].rows["responses"]
    else:
        judgements, trees = read["judgements"].read("judgements"), read["trees"]
        records = IterationRecords(prompts, responses, judgements, trees.read("trees"), trees.read("tree_nodes"))
        library = PromptLibrary.load(context.call.surroundings.prompt_set)
        trust = _trust(config, prompts)
        quotas = RefinerDataConfig.model_validate(config["refiner_data"])
        examples, drops, rows_in = taught_refiner(records, library, trust, quotas, run_seed=context.call.seed)
    _tell(role, len(examples), config["count"], drops)
    context.part.write("refiner_examples", examples)
    context.part.write("drops", drops)
    return ShardRows(rows_in, len(examples))


def _roots(context: ShardContext) -> ShardRows:
    inputs, call = context.call.inputs, context.call
    prompts = list(inputs["prompts"].read("prompts"))
    roots = taught_roots(
        prompts,
        inputs["responses"].read("responses"),
        inputs["judgements"].read("judgements"),
        _trust(call.config, prompts),
        run_seed=call.seed,
    )
    write_in_parts(context, "roots", roots.roots)
    context.part.write("drops", roots.drops)
    return ShardRows(len(prompts), len(roots.roots))


def _trust(config: Any, prompts: list[Prompt]) -> Trust:
    return Trust(config["min_agreement"], _verifier(config, prompts))


def _verifier(config: Any, prompts: list[Prompt]) -> Verifier | None:
    return rule_verifier(prompts) if config["check_rules"] else None


def _tell(role: ModelRole, made: int, wanted: int, drops: list[Drop]) -> None:
    """Say how many examples came of it, and why others did not.

    Raises:
        FruitlessError: none did.
    """
    lost = ", ".join(f"{count} {reason}" for reason, count in Counter(drop.reason for drop in drops).most_common())
    if made == 0:
        raise FruitlessError(
            f"nothing the teacher wrote can be learnt from by the {role} ({lost or 'it wrote nothing'}): name a "
            "stronger warm_start.teacher, lower warm_start.min_agreement, raise warm_start.tries, or set "
            f"warm_start.{role}_examples=0; then run the same command again, what it wrote is kept"
        )
    _log.log(
        logging.WARNING if 2 * made < wanted else logging.INFO,
        "warm start by the teacher: %d examples for the %s, %d asked for (left out: %s)",
        made,
        role,
        wanted,
        lost or "none",
    )


WARM_START_EXAMPLES = {
    role: Stage(
        f"warm_start_examples_{role}", version=1, work=_work, data=(*STARTER_WORLD, "spar_core.prompts/starter")
    )
    for role in get_args(ModelRole)
}
WARM_START_ROOTS = Stage("warm_start_roots", version=1, work=_roots, splits=True)
