import pytest

from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.scores import (
    Score,
    Stratum,
    clustered_score,
    histogram_score,
    score_records,
    share_score,
    stratified_score,
)


def test_share_has_the_wilson_interval() -> None:
    score = share_score("m", 8, 10, unscored=5)
    # Wilson for 8 of 10: centre (0.8 + 0.19207) / 1.38415, half width 0.22658.
    assert (score.value, score.n, score.unscored) == (0.8, 10, 5)
    assert score.ci_low == pytest.approx(0.4902, abs=1e-4)
    assert score.ci_high == pytest.approx(0.9433, abs=1e-4)
    assert score.unscored_share == pytest.approx(1 / 3)


def test_nothing_scored_has_no_value() -> None:
    for score in (share_score("m", 0, 0, 3), histogram_score("m", {}, 3), clustered_score("m", [], [], 3)):
        assert score == Score("m", Estimate.nothing(3))
        assert score.plain() == {"value": None, "ci_low": None, "ci_high": None, "n": 0, "unscored": 3}


def test_clusters_widen_the_interval() -> None:
    apart = clustered_score("m", [1.0] * 20 + [0.0] * 20, [1] * 40, 0)
    together = clustered_score("m", [10.0, 10.0, 0.0, 0.0], [10] * 4, 0)
    assert apart.value == together.value == 0.5
    assert apart.ci_low is not None
    assert together.ci_low is not None
    assert together.ci_low < apart.ci_low


def test_strata_and_parts_are_weighted() -> None:
    small = Stratum([[1.0, 0.0]], [[1, 1]])
    large = Stratum([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]], [[1, 1]] * 3)
    score = stratified_score("m", [small, large], (1.0, 3.0), 0)
    # Parts weigh 1/4 and 3/4: strata 0.25 and 0.75; their plain mean. Nothing varies within a stratum: others than one
    # cluster may lie below its 1 at 1/4 by 0.79345 / 4, others than three below their 1 at 3/4 by 0.56150 x 3 / 4.
    assert (score.value, score.n) == (0.5, 8)
    assert 0.5 - score.ci_low == pytest.approx(((0.79345 / 4) ** 2 + (0.56150 * 3 / 4) ** 2) ** 0.5 / 2, abs=1e-4)


def test_a_part_without_values_leaves_no_value() -> None:
    assert stratified_score("m", [Stratum([[1.0, 0.0]], [[1, 0]])], (1.0, 1.0), 2).value is None


def test_histogram_equals_its_values() -> None:
    score = histogram_score("m", {0.0: 50, 0.5: 100, 1.0: 50}, 0)
    assert (score.value, score.n) == (0.5, 200)
    # Standard error sqrt(0.125 / 200) = 0.025.
    assert score.ci_low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    # Thirty halves: 0.5 +- half of Wilson's bound for none of 30.
    assert histogram_score("m", {0.5: 30}, 0).ci_high == pytest.approx(0.5 + 3.8415 / 33.8415 / 2, abs=1e-4)


def test_records_carry_the_unscored_share() -> None:
    rows = score_records("b", "refiner", "d", [share_score("m", 1, 4, 4), share_score("none", 0, 0, 2)])
    assert [(row.metric, row.value, row.n) for row in rows] == [
        ("m", 0.25, 4),
        ("m/unscored", 0.5, 8),
        ("none/unscored", 1.0, 2),
    ]
