"""What an answer has where a constraint asks for something else, and the least edit that meets it."""

from collections.abc import Iterator, Sequence
from random import Random

from spar_core.constraints.registry import bound_kind, check, render
from spar_core.constraints.repairs.table import Entry, Stage, entry
from spar_core.constraints.text_view import view
from spar_core.records import Constraint

_DRAWS = 8  # outcomes of one edit that are looked at
_ROUNDS = 6
_ATTEMPTS = 3


def finding(constraint: Constraint, text: str, *, detect_language: bool = True) -> str | None:
    """What a failing answer has, in words such as "3 commas; none are allowed"; None where the constraint is met.

    A kind that does not say it gets the instruction itself: "not kept: Use no commas.".

    Raises:
        DataError: unknown kind, wrong arguments, missing data.
        CheckTimeoutError: no verdict in the time allowed.
    """
    if check(constraint, text, detect_language=detect_language):
        return None
    if not text.strip():
        return "the answer is empty"
    known = _entry(constraint)
    if known is None:
        return f"not kept: {render(constraint, Random(0))}"
    return known.finding(view(text, detect_language), bound_kind(constraint)[1])


def repair(constraint: Constraint, text: str, rng: Random, *, detect_language: bool = True) -> str | None:
    """The text with the least edit that meets the constraint; the text itself where it is met.

    None where no edit suffices, and for kinds that bring none.

    Args:
        constraint: what to meet.
        text: the answer.
        rng: chooses among phrasings and places, so that a model does not learn one string.
        detect_language: as in `check`.

    Raises:
        DataError: unknown kind, wrong arguments, missing data.
        CheckTimeoutError: no verdict in the time allowed.
    """
    if check(constraint, text, detect_language=detect_language):
        return text
    return next(_outcomes(constraint, text, rng, detect_language), None)


def repair_all(
    constraints: Sequence[Constraint], text: str, rng: Random, *, detect_language: bool = True
) -> str | None:
    """The text with every constraint met, or None where that does not come out.

    Content first, then counts and layout, then case and wrapping; of an edit's outcomes the one that breaks fewest of
    the constraints that held. Repeated until nothing fails.

    Raises:
        DataError: unknown kind, wrong arguments, missing data.
        CheckTimeoutError: no verdict in the time allowed.
    """
    ordered = sorted(constraints, key=_stage)
    for _ in range(_ATTEMPTS):
        repaired = _attempt(ordered, text, rng, detect_language)
        if repaired is not None:
            return repaired
    return None


def _attempt(ordered: Sequence[Constraint], text: str, rng: Random, detect_language: bool) -> str | None:
    for _ in range(_ROUNDS):
        failing = _failing(ordered, text, detect_language)
        if not failing:
            return text
        for constraint in failing:
            if check(constraint, text, detect_language=detect_language):
                continue
            held = [c for c in ordered if check(c, text, detect_language=detect_language)]
            outcome = _gentlest(held, _outcomes(constraint, text, rng, detect_language), detect_language)
            if outcome is None:
                return None
            text = outcome
    return None


def _gentlest(held: Sequence[Constraint], outcomes: Iterator[str], detect_language: bool) -> str | None:
    """The first outcome that breaks the fewest of the constraints that held."""
    best, fewest = None, len(held) + 1
    for outcome in outcomes:
        broken = len(_failing(held, outcome, detect_language))
        if broken < fewest:
            best, fewest = outcome, broken
        if not broken:
            break
    return best


def _outcomes(constraint: Constraint, text: str, rng: Random, detect_language: bool) -> Iterator[str]:
    """What the edit makes of a failing text, draw by draw, where the constraint is then met."""
    known = _entry(constraint)
    if known is None or known.edit is None or not text.strip():
        return
    bound, shown = bound_kind(constraint)[1], view(text, detect_language)
    for _ in range(_DRAWS):
        edited = known.edit(shown, bound, rng)
        if edited is not None and check(constraint, edited, detect_language=detect_language):
            yield edited


def _failing(constraints: Sequence[Constraint], text: str, detect_language: bool) -> list[Constraint]:
    return [c for c in constraints if not check(c, text, detect_language=detect_language)]


def _entry(constraint: Constraint) -> Entry | None:
    bound_kind(constraint)  # imports the module of a made-up world's kinds
    return entry(constraint.kind)


def _stage(constraint: Constraint) -> Stage:
    known = _entry(constraint)
    return Stage.CONTENT if known is None else known.stage
