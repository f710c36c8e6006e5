"""pass^k, pass@k and scores over several answers, by hand."""

from dataclasses import replace

import pytest

from spar_core.errors import DataError
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.samples import (
    all_right,
    any_right,
    default_sizes,
    is_of_samples,
    pass_scores,
    sampled_scores,
    without_signs,
)
from spar_core.evaluation.scores import Score, share_score
from spar_core.records import EvalItem


def _items(values: dict[str, list[float | None]], metric: str = "prompt_strict") -> list[EvalItem]:
    row = EvalItem("ifeval", "actor", "m", "", "", metric, None)
    return [
        replace(row, item_id=name, cluster_id=name, value=value, sample=sample)
        for name, answers in values.items()
        for sample, value in enumerate(answers)
    ]


def test_of_four_answers_two_are_right():
    # One of the six pairs is all right, and one of them holds no right answer.
    assert all_right(2, 4, 2) == pytest.approx(1 / 6)
    assert any_right(2, 4, 2) == pytest.approx(5 / 6)
    assert (all_right(2, 4, 1), any_right(2, 4, 1)) == (0.5, 0.5)
    assert (all_right(2, 4, 3), any_right(2, 4, 3)) == (0.0, 1.0)
    assert (all_right(4, 4, 4), any_right(0, 4, 4)) == (1.0, 0.0)


def test_the_estimators_are_unbiased():
    # Answers right with chance 1/2, three of them: 1, 3, 3, 1 of the 8 outcomes have 0, 1, 2, 3 right ones.
    outcomes = {0: 1, 1: 3, 2: 3, 3: 1}
    assert sum(ways * all_right(right, 3, 2) for right, ways in outcomes.items()) / 8 == pytest.approx(1 / 4)
    assert sum(ways * any_right(right, 3, 2) for right, ways in outcomes.items()) / 8 == pytest.approx(3 / 4)


@pytest.mark.parametrize(("right", "n", "k"), [(1, 2, 3), (1, 2, 0), (3, 2, 1), (-1, 2, 1)])
def test_what_cannot_be_taken_is_refused(right, n, k):
    with pytest.raises(DataError, match="cannot be taken"):
        all_right(right, n, k)
    with pytest.raises(DataError, match="cannot be taken"):
        any_right(right, n, k)


def test_the_sizes_that_are_shown():
    assert default_sizes(1) == ()
    assert default_sizes(2) == (2,)
    assert default_sizes(5) == (2, 4, 5)
    assert default_sizes(8) == (2, 4, 8)


def test_pass_scores_over_items_with_their_interval():
    items = _items({"a": [1.0, 1.0], "b": [1.0, 0.0], "c": [0.0, 0.0], "d": [1.0, None]})
    scores = {score.metric: score for score in pass_scores("prompt_strict", items, (1, 2))}
    # Of two answers: a has both right, b one, c none; d has only one scored answer.
    both, either = scores["prompt_strict/pass^2"], scores["prompt_strict/pass@2"]
    assert (both.value, both.n, both.unscored) == (pytest.approx(1 / 3), 3, 1)
    assert either.value == pytest.approx(2 / 3)
    assert both.ci_low < both.value < both.ci_high
    assert scores["prompt_strict/pass^1"].value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert all(is_of_samples(metric) for metric in scores)
    assert not is_of_samples("instruction_strict/punctuation:no_comma")


def test_a_mean_over_items_is_taken_over_all_answers():
    items = _items({"a": [1.0, 1.0], "b": [1.0, 0.0], "c": [0.0, None]})
    by_sample = [[share_score("prompt_strict", 2, 3, 0)], [share_score("prompt_strict", 1, 2, 1)]]
    scores = {score.metric: score for score in sampled_scores(items, by_sample, (2,))}
    pooled = scores["prompt_strict"]
    assert (pooled.value, pooled.n, pooled.unscored) == (pytest.approx(3 / 5), 5, 1)
    assert list(scores) == ["prompt_strict", "prompt_strict/pass^2", "prompt_strict/pass@2"]


def test_a_score_of_another_making_is_the_mean_of_the_samples():
    items = _items({"a": [0.5, 0.25]}, "soft")
    by_sample = [[Score("csl", Estimate(2.0, 1.0, 3.0, 10))], [Score("csl", Estimate(3.0, 2.0, 5.0, 10))]]
    (score,) = sampled_scores(items, by_sample, (2,))  # shares between 0 and 1 are neither right nor wrong
    assert (score.metric, score.value, score.ci_low, score.ci_high) == ("csl", 2.5, 1.5, 4.0)


def test_names_without_signs_stay_apart():
    assert without_signs("prompt_strict/pass^2") == "prompt_strict/pass_all_2"
    assert without_signs("prompt_strict/pass@2") == "prompt_strict/pass_any_2"
    assert without_signs("instruction_strict/a:b") == "instruction_strict/a:b"
