"""Repaired variants of published verifiers: rules that hold to the instruction where the reference contradicts it.

check(constraint, text, variant="repaired")  # as `check` where a kind has no repaired rule

The reference decides every headline figure. A repaired rule changes nothing but what contradicts the kind's own text:
what the text leaves open stays as the reference has it. docs/repaired.md has an example and the measured difference of
each.
"""

from typing import Final, Literal

from spar_core.constraints.kind import Rule
from spar_core.constraints.repaired import ifbench, ifeval_format, ifeval_words

Variant = Literal["reference", "repaired"]

_RULES: Final[dict[str, Rule]] = {**ifeval_words.RULES, **ifeval_format.RULES, **ifbench.RULES}
REPAIRED_KINDS: Final = tuple(sorted(_RULES))

__all__ = ["REPAIRED_KINDS", "Variant", "repaired_rule"]


def repaired_rule(kind_id: str) -> Rule | None:
    """The repaired rule of a kind; None where the reference does as its text says."""
    return _RULES.get(kind_id)
