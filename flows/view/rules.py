"""What a checker says of a text that is shown: computed for the page, kept nowhere."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spar_core.constraints import CheckTimeoutError, check, detects_language, is_known
from spar_core.errors import SparError
from spar_core.evaluation.truth import sentence
from spar_core.records import Constraint


class Rule(NamedTuple):
    """A constraint of a prompt, in words; `met` is null where no checker knows, or none could tell in time."""

    kind: str
    said: str
    met: bool | None = None


def rules_of(prompt: Mapping[str, Any], text: str | None = None) -> list[Rule]:
    """A prompt's constraints in its order, each with the checker's verdict on `text` if one is given.

    Args:
        prompt: a row with `constraints` and `source`.
        text: an answer.
    """
    constraints = [Constraint(entry["kind"], entry["kwargs"]) for entry in prompt["constraints"] or ()]
    detect = detects_language(prompt["source"] or "")
    return [Rule(entry.kind, _said(entry), _met(entry, text, detect)) for entry in constraints]


def is_right(rules: Sequence[Rule]) -> bool | None:
    """Whether all rules are met; null where there are none, or one is not known."""
    return _all_met([rule.met for rule in rules])


def right_of(prompt: Mapping[str, Any], text: str) -> bool | None:
    """`is_right` of `rules_of`, for many texts: nothing is put in words."""
    detect = detects_language(prompt["source"] or "")
    constraints = [Constraint(entry["kind"], entry["kwargs"]) for entry in prompt["constraints"] or ()]
    return _all_met([_met(entry, text, detect) for entry in constraints])


def _all_met(verdicts: Sequence[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return True if verdicts and None not in verdicts else None


def _met(constraint: Constraint, text: str | None, detect: bool) -> bool | None:
    if text is None or not is_known(constraint.kind):
        return None
    try:
        return check(constraint, text, detect_language=detect)
    except (CheckTimeoutError, SparError):
        return None


def _said(constraint: Constraint) -> str:
    try:
        return sentence(constraint)
    except SparError:
        return constraint.kind
