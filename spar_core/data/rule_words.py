"""What rules say of an answer, and make of it, in the words that a refiner is to judge and to mend with."""

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple, Protocol

from spar_core.constraints import detects_language, render
from spar_core.constraints.repairs import finding, repair_all
from spar_core.evaluation.truth import sentence
from spar_core.prompts.format import VerdictForm
from spar_core.records import Constraint, Prompt
from spar_core.roles.anchor import Checked

_WORDINGS_TRIED = 24
_ENDED = re.compile(r"[.!?][\"')]*$")


class Looked(NamedTuple):
    """One rule of a prompt, as the prompt words it, and what the answer has instead; None where it is kept."""

    rule: str
    finding: str | None

    def broken(self) -> str:
        """The broken rule with its finding."""
        return f"{self.rule} Found: {self.finding}."


class RuleWords(Protocol):
    """The words of a world of prompts."""

    def judgement(self, prompt: Prompt, text: str, form: VerdictForm) -> str:
        """A step-by-step verification in the form of a vote, with the verdict that is true."""

    def critique(self, prompt: Prompt, text: str, form: VerdictForm, rng: Random | None) -> str:
        """What a rewrite is asked for with; `rng` null: by a checker, never by a judge."""

    def reflection(self, prompt: Prompt, text: str) -> str:
        """What stands before a rewrite; empty where nothing does."""

    def repair(self, prompt: Prompt, text: str, rng: Random) -> str | None:
        """The text with the least edit after which every rule is kept, or None.

        Raises:
            CheckTimeoutError: no verdict in the time allowed.
        """


class PlainWords:
    """The registry's words: a line per rule, then the verdict."""

    def judgement(self, prompt: Prompt, text: str, form: VerdictForm) -> str:
        """As `RuleWords` says. The task itself is not judged: no rule knows it."""
        found = looked_at(prompt, text)
        lines = (f"- {one.rule} Kept." if one.finding is None else f"- {one.broken()} Broken." for one in found)
        return "\n".join([*lines, form.line(passes=all(one.finding is None for one in found))])

    def critique(self, prompt: Prompt, text: str, form: VerdictForm, rng: Random | None) -> str:
        """A judgement, or the words of `judging.anchor`, equally often: rewrites are asked for with both."""
        if rng is not None and rng.random() < 0.5:
            return self.judgement(prompt, text, form)
        return Checked(_broken(looked_at(prompt, text)), complete=True).critique(form)

    def reflection(self, prompt: Prompt, text: str) -> str:
        """The broken rules."""
        return "\n".join(["To mend:", *(f"- {said}" for said in _broken(looked_at(prompt, text)))])

    def repair(self, prompt: Prompt, text: str, rng: Random) -> str | None:
        """As the registry's kinds repair."""
        return repair_all(prompt.constraints, text, rng, detect_language=detects_language(prompt.source))


def looked_at(prompt: Prompt, text: str) -> tuple[Looked, ...]:
    """Every rule of a prompt, in its order, against one answer.

    Raises:
        DataError: an unknown kind.
        CheckTimeoutError: no verdict in the time allowed.
    """
    detect = detects_language(prompt.source)
    return tuple(
        Looked(_worded(constraint, prompt.text), finding(constraint, text, detect_language=detect))
        for constraint in prompt.constraints
    )


def _broken(found: Sequence[Looked]) -> tuple[str, ...]:
    return tuple(one.broken() for one in found if one.finding is not None)


@lru_cache(maxsize=65_536)
def _worded(constraint: Constraint, prompt_text: str) -> str:
    """The rule in the prompt's own words where they are one of the registry's wordings, else in a fixed one."""
    wordings = (render(constraint, Random(number)) for number in range(_WORDINGS_TRIED))
    said = next((wording for wording in wordings if wording in prompt_text), sentence(constraint)).strip()
    return said if _ENDED.search(said) else f"{said}."
