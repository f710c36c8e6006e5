"""Instructions of a benchmark that have no verdict whatever the answer: what to say of them beside its scores."""

from collections import Counter

from spar_core.constraints.multilingual.resources import missing_part
from spar_core.evaluation.ifeval_rows import PromptSet
from spar_core.evaluation.ifeval_verdicts import unreadable
from spar_core.records import Constraint

_SHOWN = 3  # reasons


def open_note(prompts: PromptSet) -> str:
    """How many instructions no rule can decide, and why; empty where there are none.

    Raises:
        DataError: something that a rule needs, and that can be had, is missing.
    """
    met = Counter(instruction for prompt in prompts.prompts for instruction in prompt.instructions)
    reasons: dict[str, int] = {}
    for instruction, count in met.items():
        reason = _reason(instruction)
        if reason:
            reasons[reason] = reasons.get(reason, 0) + count
    if not reasons:
        return ""
    total = sum(reasons.values())
    shown = [f"{count} {reason}" for reason, count in list(reasons.items())[:_SHOWN]]
    told = ", ".join([*shown, *(["..."] if len(reasons) > _SHOWN else [])])
    return f"{total} of {met.total()} instructions have no verdict and are left out of the scores: {told}"


def _reason(instruction: Constraint) -> str:
    return unreadable(instruction) or missing_part(instruction.kind)
