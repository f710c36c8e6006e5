"""What a checker knows about an answer. Used to measure, and for warm-start data.

It chooses self-play data only where the configuration says so by name: `judging.anchor: verifier`.
"""

from collections.abc import Iterable, Iterator
from random import Random

from spar_core.constraints import CheckTimeoutError, check, detects_language, is_known, render
from spar_core.hashing import derive_seed
from spar_core.records import Constraint, Prompt
from spar_core.roles.anchor import Checked, Verifier


def broken_constraints(prompt: Prompt, text: str) -> tuple[str, ...]:
    """Kinds of the prompt's constraints that `text` breaks, in the prompt's order.

    Raises:
        DataError: the prompt has no checkable constraints, or an unknown kind.
    """
    return tuple(constraint.kind for constraint in _broken(prompt, prompt.constraints, text))


def is_right(prompt: Prompt, text: str) -> bool:
    """Whether `text` meets every constraint of `prompt`."""
    return not broken_constraints(prompt, text)


def rule_verifier(prompts: Iterable[Prompt]) -> Verifier:
    """The checker behind `judging.anchor: verifier`, for answers to these prompts (told apart by their text).

    Constraints of kinds the registry does not know, and checks that run into their time limit, are left to the votes.
    """
    by_text = {prompt.text: prompt for prompt in prompts if prompt.constraints}

    def verify(prompt_text: str, response_text: str) -> Checked | None:
        prompt = by_text.get(prompt_text)
        return None if prompt is None else _checked(prompt, response_text)

    return verify


def _checked(prompt: Prompt, text: str) -> Checked | None:
    known = tuple(constraint for constraint in prompt.constraints if is_known(constraint.kind))
    failed: list[Constraint] = []
    timed_out = False
    for constraint in known:
        try:
            failed += _broken(prompt, (constraint,), text)
        except CheckTimeoutError:
            timed_out = True
    complete = len(known) == len(prompt.constraints) and not timed_out
    return Checked(tuple(map(sentence, failed)), complete) if known else None


def _broken(prompt: Prompt, constraints: Iterable[Constraint], text: str) -> Iterator[Constraint]:
    detect = detects_language(prompt.source)
    return (constraint for constraint in constraints if not check(constraint, text, detect_language=detect))


def sentence(constraint: Constraint) -> str:
    """A constraint in words: the registry's wording; which of several is fixed by the constraint."""
    return render(constraint, Random(derive_seed(0, "anchor", constraint.kind + constraint.kwargs)))
