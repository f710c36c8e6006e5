"""A judgement as the chat that the refiner learns: what it was asked, and what speaks for the verdict."""

from typing import NamedTuple

from spar_core.data.seeded_choice import rank
from spar_core.prompts.library import PromptLibrary
from spar_core.records import ConstraintVote, Message, Verdict
from spar_core.roles.requests import constraint_messages, judge_messages

_CHOICE = "refiner_data.constraint"


class JudgedText(NamedTuple):
    """A text with the critique that speaks for its majority, and where it comes from."""

    prompt_id: str
    text: str
    critique: str
    text_id: str
    tree_id: str | None = None
    by_constraint: tuple[ConstraintVote, ...] = ()

    def chat(self, library: PromptLibrary, prompt_text: str, run_seed: int) -> tuple[tuple[Message, ...], str]:
        """The request and its answer; of a judgement by constraints those of one, by seeded choice.

        Of a NO it is one that is not met.
        """
        if not self.by_constraint:
            return judge_messages(library, prompt_text, self.text), self.critique
        broken = [part for part in self.by_constraint if part.verdict is Verdict.NO]
        part = min(
            broken or self.by_constraint,
            key=lambda part: rank(run_seed, _CHOICE, f"{self.text_id} {part.constraint}"),
        )
        return constraint_messages(library, prompt_text, self.text, part.constraint), part.critique
