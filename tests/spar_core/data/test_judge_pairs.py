"""What the judge learns from: ranks of judgements, derived by hand."""

import math
from typing import Literal

import pytest
from finished_records import prompt, response

from spar_core.config.pairs import PairsConfig
from spar_core.data import judge_pairs, most_contested
from spar_core.data.elo import Win, elo
from spar_core.data.judge_pairs import place_weights, win_shares
from spar_core.prompts import PromptLibrary
from spar_core.records import MetaVote, RubricScore, RubricVote

LIBRARY = PromptLibrary.load()


def meta(first: int, second: int, better: Literal["A", "B", "UNPARSEABLE"], response_id: str = "r") -> MetaVote:
    return MetaVote(response_id, first, second, better, "text", "stop", 0)


def rubric(index: int, response_id: str = "r") -> RubricVote:
    return RubricVote(response_id, index, 0.4, f"judgement {response_id} {index}", "stop", 0)


# 0 beats 1 in both orders; 0 and 2 each win when shown first; 2 beats 1 when first, the other one is unreadable.
BATTLES = [
    meta(0, 1, "A"),
    meta(1, 0, "B"),
    meta(0, 2, "A"),
    meta(2, 0, "A"),
    meta(2, 1, "A"),
    meta(1, 2, "UNPARSEABLE"),
]


def test_a_win_counts_what_the_other_place_wins() -> None:
    # First place won 4, second 1: a win in first place counts 1/5, in second 4/5.
    assert place_weights(BATTLES) == (0.2, 0.8)
    assert place_weights([meta(0, 1, "UNPARSEABLE")]) == (0.5, 0.5)


def test_win_shares() -> None:
    shares = win_shares(BATTLES, (0.2, 0.8))
    # 0: wins 0.2 + 0.8 + 0.2, loses 0.2. 1: loses 0.2 + 0.8 + 0.2. 2: wins 0.2 + 0.2, loses 0.2.
    assert shares == pytest.approx({0: 1.2 / 1.4, 1: 0.0, 2: 0.4 / 0.6})


def test_the_best_judgement_over_the_worst_under_the_prompt_the_scorer_saw() -> None:
    even = [meta(0, 1, "A", "s"), meta(1, 0, "A", "s")]
    silent = [meta(0, 1, "UNPARSEABLE", "t")]
    made = judge_pairs(
        [prompt("p1"), prompt("p2")],
        [response("r", "p1"), response("s", "p2"), response("t", "p2"), response("u", "p2")],
        [rubric(index, name) for name in "rst" for index in range(3)],
        [*BATTLES, *even, *silent],
        LIBRARY,
        PairsConfig(),
        run_seed=0,
    )
    (pair,) = made.pairs
    assert (pair.chosen, pair.rejected, pair.prompt_id) == ("judgement r 0", "judgement r 1", "p1")
    assert pair.prompt == LIBRARY.fill("rubric", prompt="task p1", response="text r")
    # All battles together: first place won 6 of 7.
    first, second = 1 / 7, 6 / 7
    assert pair.value == pytest.approx((first * 2 + second) / (first * 3 + second))
    assert [(drop.record_id, drop.reason) for drop in made.drops] == [("s", "equal_judgements"), ("t", "unparseable")]


def test_the_response_whose_scores_vary_most_is_compared() -> None:
    responses = [response(name, "p1") for name in "abc"] + [response("d", "p2")]
    scores = {
        name: RubricScore(name, 0.5, variance, 5, 0) for name, variance in zip("abd", (0.1, 0.3, 0.0), strict=True)
    }
    chosen = most_contested(responses, scores, 0)
    assert {prompt_id: found.response_id for prompt_id, found in chosen.items()} == {"p1": "b", "p2": "d"}


def test_elo_is_the_likeliest_strength() -> None:
    # Of two, the odds are those of the wins, a tenth of a win drawn on either side.
    alone = elo([Win(0, 1, 3.0), Win(1, 0, 1.0)])
    assert alone[0] - alone[1] == pytest.approx(math.log(3.1 / 1.1))
    assert sum(alone.values()) == pytest.approx(0.0)
    # Of three, what each won is what its strength says it should have won.
    wins = {(0, 1): 2.0, (1, 0): 0.5, (0, 2): 1.0, (2, 1): 1.0}
    found = elo([Win(*both, weight) for both, weight in wins.items()])
    for one in range(3):
        won = expected = 0.0
        for other in {0, 1, 2} - {one}:
            mine, theirs = wins.get((one, other), 0.0) + 0.1, wins.get((other, one), 0.0) + 0.1
            won += mine
            expected += (mine + theirs) / (1 + math.exp(found[other] - found[one]))
        assert won == pytest.approx(expected, abs=1e-6)
    assert elo([Win(0, 1, 0.0)]) == {}


def test_ranking_by_elo_looks_at_whom_one_has_beaten() -> None:
    # 3 won its only comparison, against 2, who lost all. 0 won three of four against 1, who won four of four against 2.
    weak = [meta(3, 2, "A"), meta(1, 2, "A"), meta(1, 2, "A"), meta(2, 1, "B"), meta(2, 1, "B")]
    strong = [meta(0, 1, "A"), meta(1, 0, "B"), meta(1, 0, "B"), meta(1, 0, "A")]
    asked = [prompt("p")], [response("r", "p")], [rubric(index) for index in range(4)], [*weak, *strong], LIBRARY
    by_shares = judge_pairs(*asked, PairsConfig(), run_seed=0).pairs[0]
    by_elo = judge_pairs(*asked, PairsConfig(ranking="elo"), run_seed=0).pairs[0]
    assert (by_shares.chosen_id, by_shares.rejected_id) == ("r/3", "r/2")
    assert (by_elo.chosen_id, by_elo.rejected_id) == ("r/0", "r/2")
