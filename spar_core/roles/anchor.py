"""`judging.anchor`: what a checker decides of an answer takes the place of the votes' verdict.

Rule truth enters self-play data through this module alone, and only where the configuration says so by name.
The roles know no rules: whoever builds a `Refiner` hands it a `Verifier` (`spar_core.evaluation.truth`).
"""

from typing import NamedTuple, Protocol

from spar_core.prompts.format import VerdictForm
from spar_core.records import Verdict


class Checked(NamedTuple):
    """What a checker found out about one answer.

    `failed`: the unmet constraints, as sentences. `complete`: every constraint of the prompt could be checked, so that
    none failing means that all are met. `undecided`: those that could not, as sentences.
    """

    failed: tuple[str, ...]
    complete: bool
    undecided: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """What code decides; None leaves it to the votes."""
        if self.failed:
            return Verdict.NO
        return Verdict.YES if self.complete else None

    def critique(self, form: VerdictForm) -> str:
        """A plain verification text in the form of a vote, for answers no vote judged as the checker does."""
        if not self.failed:
            return f"Every constraint is met.\n{form.line(passes=True)}"
        return "\n".join(["Not met:", *(f"- {sentence}" for sentence in self.failed), form.line(passes=False)])


class Verifier(Protocol):
    """Checks an answer to a prompt; None where it knows no constraint of the prompt."""

    def __call__(self, prompt_text: str, response_text: str) -> Checked | None:
        """Both as the roles see them: texts."""
