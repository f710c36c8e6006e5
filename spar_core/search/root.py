"""Where a search starts."""

from dataclasses import dataclass
from typing import Self

from spar_core.records import FinishReason, Judgement, Prompt, Response


@dataclass(frozen=True, slots=True)
class Root:
    """A response to improve, with the judgement of it. `value` is None where it was not judged.

    `seed` is that of the response's request (0 for a response given by the user).
    """

    prompt_id: str
    prompt: str
    response_id: str
    response: str
    critique: str
    value: float | None
    yes_votes: int = 0
    no_votes: int = 0
    unparseable_votes: int = 0
    finish_reason: FinishReason = "stop"
    seed: int = 0

    @classmethod
    def create(cls, prompt: Prompt, response: Response, judgement: Judgement) -> Self:
        """Build from the records of the earlier stages."""
        return cls(
            prompt_id=prompt.prompt_id,
            prompt=prompt.text,
            response_id=response.response_id,
            response=response.text,
            critique=judgement.critique,
            value=judgement.value,
            yes_votes=judgement.yes_votes,
            no_votes=judgement.no_votes,
            unparseable_votes=judgement.unparseable_votes,
            finish_reason=response.finish_reason,
            seed=response.seed,
        )
