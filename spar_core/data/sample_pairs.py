"""Preference pairs from a prompt's independent samples: the methods SPaR is compared with.

What is chosen among equals follows from a seeded rank of the responses, so that it is the same whatever their order.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

from spar_core.config.pairs import PairsConfig
from spar_core.data.pairs import MAJORITY, STAGE, Pairs, Side, capped, make_pair
from spar_core.data.seeded_choice import rank
from spar_core.records import Drop, Judgement, PreferencePair, Prompt, Response, RubricScore

UNKNOWN_VALUE = 0.5  # of a random pair: nothing says that its chosen answer is the better one

_Rank: TypeAlias = tuple[int, str]
_Choose: TypeAlias = Callable[[Iterable[Response], Mapping[str, float], int], "dict[str, _Choice]"]


class _Choice(NamedTuple):
    """Two samples of a prompt, and the place each was chosen by (lower wins)."""

    chosen: Response
    chosen_place: tuple[float, _Rank]
    rejected: Response
    rejected_place: tuple[float, _Rank]


def pairs_from_samples(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    judgements: Iterable[Judgement],
    config: PairsConfig,
    *,
    run_seed: int,
) -> Pairs:
    """`best_of_n`: best over worst by the same votes.

    The best must have passed (value above one half) and the worst failed (below), so that both kinds of pair say
    the same: a passing answer is preferred over a failing one.
    Drops, by prompt id: `not_judged`, `no_passing_response`, `no_failing_response`, `identical`, `over_cap`.
    Reads each iterable once, judgements first; holds two responses per prompt.
    """
    values = {judgement.response_id: judgement.value for judgement in judgements}

    def unfit(best: float, worst: float) -> str | None:
        if best <= MAJORITY:
            return "no_passing_response"
        return "no_failing_response" if worst >= MAJORITY else None

    return _best_over_worst(prompts, responses, values, "not_judged", unfit, config, run_seed)


def pairs_from_scores(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    scores: Iterable[RubricScore],
    config: PairsConfig,
    *,
    run_seed: int,
) -> Pairs:
    """`self_rewarding` and `meta_rewarding`: highest over lowest mean score (arXiv 2401.10020).

    With `length_control` r (arXiv 2407.19594): of the responses within r of the range of scores below the highest the
    shortest, over the longest of those within r of the range above the lowest.

    Drops, by prompt id: `not_scored`, `equal_scores`, `identical`, `over_cap`.
    Reads each iterable once, scores first; holds two responses per prompt.
    """
    values = {score.response_id: score.score for score in scores}

    def unfit(best: float, worst: float) -> str | None:
        return None if best > worst else "equal_scores"

    share = config.length_control
    choose = _extremes if share is None else partial(_extremes_by_length, share=share)
    return _best_over_worst(prompts, responses, values, "not_scored", unfit, config, run_seed, choose)


def random_pairs(
    prompts: Iterable[Prompt], responses: Iterable[Response], config: PairsConfig, *, run_seed: int
) -> Pairs:
    """`random_pairs`: two different samples in random order, the control that should teach nothing.

    Drops, by prompt id: `no_response`, `identical` (all samples are the same), `over_cap`.
    Reads each iterable once; holds two responses per prompt.
    """
    held: dict[str, list[tuple[_Rank, Response]]] = {}
    for response in responses:
        if response.lost:
            continue
        place = rank(run_seed, "pairs.random", response.response_id)
        own = held.setdefault(response.prompt_id, [])
        # Of equal texts the first in rank counts, of different ones the first two.
        rivals = [entry for entry in own if entry[1].text.strip() != response.text.strip()]
        same = [entry for entry in own if entry not in rivals]
        own[:] = sorted([*rivals, min([*same, (place, response)], key=_by_rank)], key=_by_rank)[:2]
    pairs, drops = [], []
    for prompt in prompts:
        found = [response for _, response in held.get(prompt.prompt_id, ())]
        if len(found) == 2:
            pairs.append(make_pair(prompt.prompt_id, prompt.text, _named(found[0]), _named(found[1]), UNKNOWN_VALUE))
        else:
            drops.append(Drop(STAGE, prompt.prompt_id, "identical" if found else "no_response"))
    return capped(pairs, drops, config, run_seed)


def _best_over_worst(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    values: Mapping[str, float],
    without_value: str,
    unfit: Callable[[float, float], str | None],
    config: PairsConfig,
    run_seed: int,
    choose: "_Choose | None" = None,
) -> Pairs:
    choices = (choose or _extremes)(responses, values, run_seed)
    pairs: list[PreferencePair] = []
    drops: list[Drop] = []
    for prompt in prompts:
        choice = choices.get(prompt.prompt_id)
        if choice is None:
            drops.append(Drop(STAGE, prompt.prompt_id, without_value))
            continue
        best, worst = values[choice.chosen.response_id], values[choice.rejected.response_id]
        reason = unfit(best, worst)
        if reason is None and choice.chosen.text.strip() == choice.rejected.text.strip():
            reason = "identical"
        if reason is None:
            texts = _named(choice.chosen), _named(choice.rejected)
            pairs.append(make_pair(prompt.prompt_id, prompt.text, *texts, best))
        else:
            drops.append(Drop(STAGE, prompt.prompt_id, reason))
    return capped(pairs, drops, config, run_seed)


def _named(response: Response) -> Side:
    return Side(response.text, response.response_id, response.finish_reason == "length")


def _extremes(responses: Iterable[Response], values: Mapping[str, float], run_seed: int) -> dict[str, _Choice]:
    """Per prompt the samples of highest and lowest value; prompts without any value are left out."""
    found: dict[str, _Choice] = {}
    for response in responses:
        value = values.get(response.response_id)
        if value is None:
            continue
        seeded = rank(run_seed, "pairs.samples", response.response_id)
        high, low = (-value, seeded), (value, seeded)
        held = found.setdefault(response.prompt_id, _Choice(response, high, response, low))
        if high < held.chosen_place:
            held = held._replace(chosen=response, chosen_place=high)
        if low < held.rejected_place:
            held = held._replace(rejected=response, rejected_place=low)
        found[response.prompt_id] = held
    return found


def _extremes_by_length(
    responses: Iterable[Response], values: Mapping[str, float], run_seed: int, *, share: float
) -> dict[str, _Choice]:
    """Per prompt the shortest of its best samples and the longest of its worst; holds all samples that have values."""
    scored: dict[str, list[Response]] = {}
    for response in responses:
        if response.response_id in values:
            scored.setdefault(response.prompt_id, []).append(response)
    found = {}
    for prompt_id, own in scored.items():
        places = {each.response_id: rank(run_seed, "pairs.samples", each.response_id) for each in own}
        of = [values[each.response_id] for each in own]
        room = share * (max(of) - min(of))
        best = [each for each in own if values[each.response_id] >= max(of) - room]
        worst = [each for each in own if values[each.response_id] <= min(of) + room]
        chosen = min(best, key=lambda each: (len(each.text), places[each.response_id]))
        rejected = min(worst, key=lambda each: (-len(each.text), places[each.response_id]))
        ranks = places[chosen.response_id], places[rejected.response_id]
        found[prompt_id] = _Choice(chosen, (0.0, ranks[0]), rejected, (0.0, ranks[1]))
    return found


def _by_rank(entry: tuple[_Rank, Response]) -> _Rank:
    return entry[0]
