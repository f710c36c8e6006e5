"""What a training that draws its own answers says of them in its log: their tokens, and whether they could teach."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from spar_core.errors import TrainingError

READ: Final = "prompt_tokens"
WRITTEN: Final = "completion_tokens"
"""Keys of a log entry: tokens since the entry before."""
_ALL_ALIKE: Final = "frac_reward_zero_std"  # TRL's name for the share of prompts whose answers got equal rewards

History = Iterable[Mapping[str, Any]]


def tokens_of(history: History) -> dict[str, float]:
    """All tokens that a training has read and written to draw answers; empty where it drew none."""
    counted = [entry for entry in history if WRITTEN in entry]
    return {name: sum(entry[name] for entry in counted) for name in (READ, WRITTEN)} if counted else {}


def check_learned(history: History) -> None:
    """See that there was something to learn from.

    Raises:
        TrainingError: in every batch all answers to each prompt were worth the same.
    """
    alike = [entry[_ALL_ALIKE] for entry in history if entry.get(_ALL_ALIKE) is not None]
    if alike and min(alike) == 1.0:
        raise TrainingError(
            "nothing was learned: all answers to each prompt were worth the same in every batch. Take prompts that the "
            "model sometimes meets (prompts.constraints, or training.grpo.reward=share), more answers per prompt "
            "(training.grpo.group), or longer ones where they are cut (training.grpo.max_tokens)."
        )
