"""How long a thought may be in process, where it is counted apart from the answer behind it."""

from dataclasses import dataclass
from typing import Final

NEVER: Final = -2  # no token; -1 is one that could not be drawn
_LATEST_OPENING = 2  # a thought begins with the first token, or after a newline


@dataclass(frozen=True, slots=True)
class ThoughtLimit:
    """Limits of a thought and of the answer behind it, counted apart.

    `opening` and `closing` are the tokens that begin and end a thought, `opened` says that the prompt has begun it;
    `thought`, `answer` and `room` are the most tokens of each, tags left out, and of both with their tags.
    """

    opening: int
    closing: int
    opened: bool
    thought: int
    answer: int
    room: int

    def at_first(self) -> tuple[int, int]:
        """The token that changes the limit next, and the limit until then."""
        if self.opened:
            return self.closing, min(self.thought + 1, self.room)
        return self.opening, min(self.answer, self.room)

    def after(self, drawn: int, step: int, limit: int) -> tuple[int, int]:
        """The same once the awaited token was drawn as number `step` (from 1), under `limit`."""
        if drawn == self.closing:
            return NEVER, min(step + self.answer, self.room)
        if step > _LATEST_OPENING:  # a tag in the middle of an answer is the answer's own
            return NEVER, limit
        return self.closing, min(step + self.thought + 1, self.room)
