"""What a checker knows about an answer. Used to measure, and for warm-start data; never to choose self-play data."""

import spar_core.starter.world  # noqa: F401 - registers the starter's own kinds
from spar_core.constraints import check
from spar_core.records import Prompt

_STARTER = "starter/"


def broken_constraints(prompt: Prompt, text: str) -> tuple[str, ...]:
    """Kinds of the prompt's constraints that `text` breaks, in the prompt's order.

    On the starter's prompts the case kinds do not ask a language detector: on ten words it only guesses.

    Raises:
        DataError: the prompt has no checkable constraints, or an unknown kind.
    """
    detect = not prompt.source.startswith(_STARTER)
    return tuple(c.kind for c in prompt.constraints if not check(c, text, detect_language=detect))


def is_right(prompt: Prompt, text: str) -> bool:
    """Whether `text` meets every constraint of `prompt`."""
    return not broken_constraints(prompt, text)
