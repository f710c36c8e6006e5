"""What an answer is worth to GRPO: the constraints it meets, and nothing where it only looks like an answer."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from spar_core.constraints import detects_language
from spar_core.constraints.rewards import constraint_reward
from spar_core.evaluation.trip_wires import tripped
from spar_core.records import Prompt

LogMetric = Callable[[str, float], None]


class RuleReward:
    """A reward function of TRL over the prompts of a training.

    Args:
        prompts: what is asked, by row of the data set.
        kind: `training.grpo.reward`.
        read: generated tokens -> the answer's text.
        stop_ids: an answer whose last token is none of them was cut.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        kind: Literal["share", "all_met"],
        read: Callable[[Sequence[int]], str],
        stop_ids: frozenset[int],
    ) -> None:
        self.__name__ = "rules"  # TRL names the reward's curves by it
        self._prompts = prompts
        self._kind = kind
        self._read = read
        self._stop_ids = stop_ids

    def __call__(
        self, completion_ids: Sequence[Sequence[int]], row: Sequence[int], log_metric: LogMetric, **_columns: Any
    ) -> list[float]:
        """Rewards in [0, 1], one per answer. Also logged: the shares of answers that are cut, trip a wire, meet all."""
        cut = tripping = met = 0
        rewards = []
        for ids, place in zip(completion_ids, row, strict=True):
            prompt, whole = self._prompts[place], bool(ids) and ids[-1] in self._stop_ids
            text = self._read(ids)
            (share,) = constraint_reward([text], [prompt.constraints], detects_language(prompt.source))
            wired = bool(tripped(prompt, text))
            cut, tripping, met = cut + (not whole), tripping + wired, met + (share == 1.0)
            worth = 0.0 if share is None or wired or not whole else share
            rewards.append(float(worth == 1.0) if self._kind == "all_met" else worth)
        for name, count in (("cut", cut), ("tripped", tripping), ("all_met", met)):
            log_metric(f"answers/{name}", count / len(rewards))
        return rewards
