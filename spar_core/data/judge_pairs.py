"""Preference pairs of judgements: what the judge learns from under Meta-Rewarding (Wu et al. 2024, arXiv 2407.19594).

A judgement is ranked among those of its response by its share of won comparisons, or as in the paper by Elo
(`pairs.ranking`); where every two are compared in both orders both give nearly the same order. As in the paper a win
counts the more the less its place (first or second shown) wins over all comparisons, against a judge that likes a
place. Its limit on the length of a chosen judgement is left out.
"""

from collections.abc import Iterable, Mapping, Sequence

from spar_core.config.pairs import PairsConfig
from spar_core.data.elo import Win, elo
from spar_core.data.pairs import Pairs, Side, make_pair
from spar_core.data.seeded_choice import cap, rank
from spar_core.prompts.library import PromptLibrary
from spar_core.records import Drop, MetaVote, Prompt, Response, RubricScore, RubricVote
from spar_core.roles.requests import rubric_messages

STAGE = "judge_pairs"
_DIGITS = 6  # of a fitted strength: equal ones differ in the last bits


def most_contested(
    responses: Iterable[Response], scores: Mapping[str, RubricScore], run_seed: int
) -> dict[str, Response]:
    """Per prompt the response whose scores vary most, the one judges are least certain of; seeded among equals."""
    chosen: dict[str, tuple[tuple[float, tuple[int, str]], Response]] = {}
    for response in responses:
        score = scores.get(response.response_id)
        if score is None:
            continue
        place = (-score.variance, rank(run_seed, "meta_judgements.choice", response.response_id))
        rival = chosen.get(response.prompt_id)
        if rival is None or place < rival[0]:
            chosen[response.prompt_id] = (place, response)
    return {prompt_id: response for prompt_id, (_, response) in chosen.items()}


def judge_pairs(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    votes: Iterable[RubricVote],
    comparisons: Iterable[MetaVote],
    library: PromptLibrary,
    config: PairsConfig,
    *,
    run_seed: int,
) -> Pairs:
    """Per compared response its best judgement over its worst, with the text the scorer was asked with as prompt.

    Rows in: compared responses. Drops, by response id: `unparseable` (no comparison could be read), `equal_judgements`
    (all won alike), `over_cap`.
    """
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    battles: dict[str, list[MetaVote]] = {}
    for comparison in comparisons:
        battles.setdefault(comparison.response_id, []).append(comparison)
    weights = place_weights(vote for own in battles.values() for vote in own)
    judgements: dict[str, dict[int, Side]] = {}
    for vote in votes:
        if vote.response_id in battles:
            said = Side(vote.text, f"{vote.response_id}/{vote.vote_index}", vote.finish_reason == "length")
            judgements.setdefault(vote.response_id, {})[vote.vote_index] = said
    pairs, drops = [], []
    for response in responses:
        own = battles.get(response.response_id)
        if own is None:
            continue
        shares = won = win_shares(own, weights)
        if config.ranking == "elo":
            fitted = elo(weighted_wins(own, weights))
            shares = {index: round(strength, _DIGITS) for index, strength in fitted.items()}
        ordered = sorted(
            shares, key=lambda index: (-shares[index], rank(run_seed, STAGE, f"{own[0].response_id}.{index}"))
        )
        if not ordered or shares[ordered[0]] == shares[ordered[-1]]:
            drops.append(Drop(STAGE, response.response_id, "equal_judgements" if ordered else "unparseable"))
            continue
        (request,) = rubric_messages(library, texts[response.prompt_id], response.text)
        best, worst = (judgements[response.response_id][index] for index in (ordered[0], ordered[-1]))
        pairs.append(make_pair(response.prompt_id, request.content, best, worst, won[ordered[0]]))
    kept, over = cap(
        pairs,
        config.max_pairs,
        run_seed=run_seed,
        stage=STAGE,
        row_id=lambda pair: pair.pair_id,
        rank_id=lambda pair: pair.prompt_id,
    )
    return Pairs(kept, drops + over)


def place_weights(comparisons: Iterable[MetaVote]) -> tuple[float, float]:
    """What a win in the first and in the second place counts: the share of wins the other place has."""
    first = second = 0
    for comparison in comparisons:
        first += comparison.better == "A"
        second += comparison.better == "B"
    won = first + second
    return (second / won, first / won) if won else (0.5, 0.5)


def weighted_wins(comparisons: Iterable[MetaVote], weights: tuple[float, float]) -> list[Win]:
    """The comparisons that could be read, each with what its winner's place counts."""
    found = []
    for vote in comparisons:
        if vote.better != "UNPARSEABLE":
            both = (vote.first_index, vote.second_index)
            first_won = vote.better == "A"
            winner, loser = both if first_won else both[::-1]
            found.append(Win(winner, loser, weights[0] if first_won else weights[1]))
    return found


def win_shares(comparisons: Sequence[MetaVote], weights: tuple[float, float]) -> dict[int, float]:
    """Weighted wins over weighted wins and losses of each judgement, by its vote's index.

    A judgement without any weighted comparison is left out.
    """
    won: dict[int, float] = {}
    fought: dict[int, float] = {}
    for win in weighted_wins(comparisons, weights):
        for index, wins in ((win.winner, 1.0), (win.loser, 0.0)):
            fought[index] = fought.get(index, 0.0) + win.weight
            won[index] = won.get(index, 0.0) + win.weight * wins
    return {index: won[index] / total for index, total in fought.items() if total > 0.0}
