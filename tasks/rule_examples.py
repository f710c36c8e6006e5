"""Stage `rule_examples`: what a role learns where rules teach (`warm_start.source: rules`).

Made of the base actor's own answers to prompts that hold constraints, beside a teacher's examples where there are any.
"""

import logging
from collections import Counter
from typing import get_args

from spar_core.data.ruled import Ruled, ruled_answers, ruled_refiner
from spar_core.errors import FruitlessError
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop, ModelRole, RefinerExample
from spar_core.starter.rule_words import words_of
from tasks.shards import ShardContext, ShardRows
from tasks.sources import STARTER_WORLD
from tasks.stages import Stage

_log = logging.getLogger(__name__)


def _work(context: ShardContext) -> ShardRows:
    call, read = context.call, context.call.inputs
    role: ModelRole = call.config["role"]
    prompts, responses = list(read["prompts"].read("prompts")), read["responses"].read("responses")
    if role == "actor":
        made = ruled_answers(prompts, responses, words_of(prompts), run_seed=call.seed)
    else:
        library, words = PromptLibrary.load(call.surroundings.prompt_set), words_of(prompts)
        count, judges = call.config["count"], not call.config.get("refinements_alone", False)
        made = ruled_refiner(prompts, responses, library, words, count, run_seed=call.seed, judges=judges)
    _tell(role, made, call.config["count"])
    beside: list[RefinerExample] = list(read["teacher"].read("refiner_examples")) if "teacher" in read else []
    context.part.write("refiner_examples", [*made.examples, *beside])
    context.part.write("drops", made.drops)
    rows = len(made.examples) + len(beside)
    return ShardRows(rows + len(made.drops), rows)


def _tell(role: ModelRole, made: Ruled, wanted: int) -> None:
    """Say how many examples came of it, and why others did not.

    Raises:
        FruitlessError: none did.
    """
    lost = _lost(made.drops)
    if not made.examples:
        raise FruitlessError(
            f"rules can teach the {role} nothing of its own answers ({lost or 'there are none'}): prompts must hold "
            "constraints that the registry knows (prompts.source=verifiable, or a file whose prompts have some); where "
            "answers are cut, raise method.responses.max_tokens; where they cannot be mended, lower "
            "prompts.constraints or raise warm_start.samples; then run the same command again, the answers are kept"
        )
    _log.log(
        logging.WARNING if 2 * len(made.examples) < wanted else logging.INFO,
        "warm start by rules: %d examples for the %s, %d asked for (left out: %s)",
        len(made.examples),
        role,
        wanted,
        lost or "none",
    )


def _lost(drops: list[Drop]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(drop.reason for drop in drops).most_common())


RULE_EXAMPLES = {
    role: Stage(f"rule_examples_{role}", version=1, work=_work, data=STARTER_WORLD) for role in get_args(ModelRole)
}
