"""The share of a prompt's judged answers that pass: how hard the prompt is for the model of the moment."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spar_core.records import Judgement, Response, Verdict


class PassRate(NamedTuple):
    """`passed` of `judged` answers; undecided ones are not counted."""

    passed: int
    judged: int

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.passed / self.judged


def pass_rates(responses: Iterable[Response], judgements: Iterable[Judgement]) -> Mapping[str, PassRate]:
    """By prompt id; prompts without any judged answer are left out. Holds one bit per judgement."""
    passed = {each.response_id: each.verdict is Verdict.YES for each in judgements}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for response in responses:
        if response.response_id in passed:
            counts[response.prompt_id][0] += passed[response.response_id]
            counts[response.prompt_id][1] += 1
    return {prompt_id: PassRate(*both) for prompt_id, both in counts.items()}
