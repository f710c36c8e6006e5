"""Negatives: per prompt one failing response, the root of a tree (method, step 4)."""

from collections.abc import Iterable
from typing import NamedTuple

from spar_core.data.seeded_choice import rank
from spar_core.records import Drop, Judgement, Prompt, Response, Verdict
from spar_core.search.root import Root

STAGE = "negatives"


class Negatives(NamedTuple):
    """Rows in: prompts. Rows out: roots, in the order of the prompts."""

    roots: list[Root]
    drops: list[Drop]


class PassBand(NamedTuple):
    """Shares of passing answers, in [0, 1]: more than `above` (null: any), and at most `at_most`."""

    above: float | None
    at_most: float

    def misses(self, passed: int, judged: int) -> str | None:
        """The reason why a prompt with so many passing answers lies outside."""
        share = passed / judged
        if self.above is not None and share <= self.above:
            return "too_hard"
        return "too_easy" if share > self.at_most else None


def choose_negatives(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    judgements: Iterable[Judgement],
    *,
    run_seed: int,
    band: PassBand | None = None,
    whole_first: bool = False,
) -> Negatives:
    """One response judged NO per prompt, by seeded choice, with a critique that agrees with the majority.

    `band`: of those prompts only whose share of passing answers lies in it. `whole_first`: of a prompt's failing
    answers a cut one only where all were cut.
    Drops: `not_judged` (no response of the prompt has a judgement), `no_failing_response`, `too_hard` and `too_easy`
    (outside of the band).
    Reads each iterable once, judgements first; holds the NO judgements and one response per prompt.
    """

    def rank_of(response: Response) -> tuple[bool, tuple[int, str]]:
        cut = whole_first and response.finish_reason == "length"
        return cut, rank(run_seed, "negatives.choice", response.response_id)

    failing: dict[str, Judgement] = {}
    judged: set[str] = set()
    for judgement in judgements:
        judged.add(judgement.response_id)
        if judgement.verdict is Verdict.NO:
            failing[judgement.response_id] = judgement
    counts: dict[str, tuple[int, int]] = {}
    chosen: dict[str, Response] = {}
    for response in responses:
        if response.response_id not in judged:
            continue
        passes = response.response_id not in failing
        passed, of = counts.get(response.prompt_id, (0, 0))
        counts[response.prompt_id] = (passed + passes, of + 1)
        if passes:
            continue
        rival = chosen.get(response.prompt_id)
        if rival is None or rank_of(response) < rank_of(rival):
            chosen[response.prompt_id] = response
    roots, drops = [], []
    for prompt in prompts:
        response_chosen = chosen.get(prompt.prompt_id)
        outside = None if band is None or response_chosen is None else band.misses(*counts[prompt.prompt_id])
        if outside is not None:
            drops.append(Drop(STAGE, prompt.prompt_id, outside))
        elif response_chosen is not None:
            roots.append(Root.create(prompt, response_chosen, failing[response_chosen.response_id]))
        else:
            reason = "no_failing_response" if prompt.prompt_id in counts else "not_judged"
            drops.append(Drop(STAGE, prompt.prompt_id, reason))
    return Negatives(roots, drops)
