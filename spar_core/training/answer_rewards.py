"""What an answer is worth to GRPO: the constraints it meets or what a judge says; nothing where it is no answer."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from spar_core.constraints import detects_language, is_known
from spar_core.constraints.rewards import constraint_reward
from spar_core.evaluation.trip_wires import tripped
from spar_core.records import Prompt

LogMetric = Callable[[str, float], None]
Judge = Callable[[Sequence[tuple[Prompt, str]]], Sequence[float]]
"""Prompts and whole answers to them -> what each is worth, in [0, 1]."""


class _Answer(NamedTuple):
    """An answer as it was drawn. `met`: the share of its prompt's constraints; None where code checks none of them."""

    prompt: Prompt
    text: str
    whole: bool
    tripped: bool
    met: float | None

    @property
    def is_one(self) -> bool:
        """Whether there is anything to judge."""
        return self.whole and bool(self.text.strip())


class AnswerReward:
    """A reward function of TRL over the prompts of a training.

    Args:
        prompts: what is asked, by row of the data set.
        kind: `training.grpo.reward`.
        read: generated tokens -> the answer's text.
        stop_ids: an answer whose last token is none of them was cut.
        judge: who is asked under `judged`.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        kind: Literal["share", "all_met", "judged"],
        read: Callable[[Sequence[int]], str],
        stop_ids: frozenset[int],
        judge: Judge | None = None,
    ) -> None:
        self.__name__ = "answers"  # TRL names the reward's curves by it
        self._prompts = prompts
        self._kind = kind
        self._read = read
        self._stop_ids = stop_ids
        self._judge = judge

    def __call__(
        self, completion_ids: Sequence[Sequence[int]], row: Sequence[int], log_metric: LogMetric, **_columns: Any
    ) -> list[float]:
        """Rewards in [0, 1], one per answer. Also logged: the shares of answers that are cut, trip a wire, meet all."""
        answers = [self._looked_at(self._prompts[place], ids) for ids, place in zip(completion_ids, row, strict=True)]
        log_metric("answers/cut", _share(not answer.whole for answer in answers))
        log_metric("answers/tripped", _share(answer.tripped for answer in answers))
        log_metric("answers/all_met", _share(answer.met == 1.0 for answer in answers))
        if self._judge is not None:
            judged = iter(self._judge([(each.prompt, each.text) for each in answers if each.is_one]))
            return [next(judged) if each.is_one else 0.0 for each in answers]
        worth = [each.met or 0.0 if each.is_one and not each.tripped else 0.0 for each in answers]
        return [float(value == 1.0) for value in worth] if self._kind == "all_met" else worth

    def _looked_at(self, prompt: Prompt, ids: Sequence[int]) -> _Answer:
        text = self._read(ids)
        checkable = all(is_known(constraint.kind) for constraint in prompt.constraints)
        asked = prompt.constraints if checkable else ()
        (met,) = constraint_reward([text], [asked], detects_language(prompt.source))
        return _Answer(prompt, text, bool(ids) and ids[-1] in self._stop_ids, bool(tripped(prompt, text)), met)


def _share(which: Iterable[bool]) -> float:
    counted = list(which)
    return sum(counted) / len(counted)
