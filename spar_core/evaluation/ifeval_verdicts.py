"""Strict and loose verdicts of one response, by the rules of IFEval's scorer.

Strict is the response as it is. Loose passes if any of eight variants passes: the response, and the
response without its first line, its last line or both (then trimmed), each with and without its `*`.
Blank responses and blank variants never pass.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from spar_core.constraints import Arguments, CheckTimeoutError, Kind, TextView, bound_kind, repaired_rule, verdict_of
from spar_core.constraints.multilingual.resources import CheckUnavailableError
from spar_core.errors import DataError
from spar_core.records import Constraint

UNREADABLE = "unreadable_instruction"


class Verdict(NamedTuple):
    """What is known of one instruction; null where the check ended without one (`reason` says why).

    `repaired`: strict, by the rule that holds to the instruction's text (`spar_core.constraints.repaired`).
    """

    strict: bool | None
    loose: bool | None
    reason: str = ""
    repaired: bool | None = None


def judge(instructions: Sequence[Constraint], response: str) -> tuple[Verdict, ...]:
    """Verdicts of a response, one per instruction; the texts derived from it are shared by all.

    Raises:
        DataError: unknown kind or wrong arguments, or data that a rule needs is missing.
    """
    variants = _Variants(response)
    return tuple(_verdict(*bound_kind(instruction), variants) for instruction in instructions)


def judge_readable(instructions: Sequence[Constraint], response: str) -> tuple[Verdict, ...]:
    """As `judge`, but instructions that no rule is known for, or whose arguments are wrong, have no verdict.

    Raises:
        DataError: data that a rule needs is missing.
    """
    variants = _Variants(response)
    verdicts = []
    for instruction in instructions:
        problem = unreadable(instruction)
        verdicts.append(Verdict(None, None, problem) if problem else _verdict(*bound_kind(instruction), variants))
    return tuple(verdicts)


def unreadable(instruction: Constraint) -> str:
    """Why no rule can read an instruction; empty where one can."""
    try:
        bound_kind(instruction)
    except DataError as error:
        return f"{UNREADABLE}: {error}"
    return ""


def variants_of(response: str) -> tuple[str, ...]:
    """The different texts among the eight variants, the response first, blank ones left out."""
    lines = response.split("\n")
    shortened = (lines[1:], lines[:-1], lines[1:-1])
    whole = (response, *("\n".join(part).strip() for part in shortened))
    every = (form for text in whole for form in (text, text.replace("*", "")))
    return tuple(text for text in dict.fromkeys(every) if text.strip())


class _Variants:
    """The views of a response and its variants, made when the first strict verdict fails."""

    def __init__(self, response: str) -> None:
        self.response = TextView(response)
        self._others: tuple[TextView, ...] | None = None

    def others(self) -> Iterator[TextView]:
        if self._others is None:
            texts = variants_of(self.response.text)
            self._others = tuple(TextView(text) for text in texts if text != self.response.text)
        return iter(self._others)


def _verdict(kind: Kind, bound: Arguments, variants: _Variants) -> Verdict:
    """A strict pass is a loose pass, since the response is its own first variant."""
    strict: bool | None = None
    repaired: bool | None = None
    try:
        if repaired_rule(kind.id) is not None:
            repaired = verdict_of(kind, bound, variants.response, "repaired")
        strict = kind.verdict(variants.response, bound)
        loose = strict or any(kind.verdict(view, bound) for view in variants.others())
        return Verdict(strict, loose, repaired=strict if repaired_rule(kind.id) is None else repaired)
    except (CheckTimeoutError, CheckUnavailableError) as error:
        return Verdict(strict, None, f"{error.reason}: {error}", repaired)
