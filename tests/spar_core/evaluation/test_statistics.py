import pytest

from spar_core.errors import DataError
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.statistics import (
    Stratum,
    clustered_mean,
    clustered_sums,
    mean_by_size,
    over_seeds,
    paired_difference,
    share_interval,
    stratified_mean_of_parts,
    wilson,
)


def test_wilson_by_hand():
    # p = 1/10, z^2 = 3.8415: centre (0.1 + 0.19207) / 1.38415 = 0.21102, half width
    # 1.95996 x sqrt(0.009 + 0.0096037) / 1.38415 = 0.19314
    found = wilson(1, 10, unscored=2)
    assert (found.value, found.n, found.unscored) == (0.1, 10, 2)
    assert found.ci_low == pytest.approx(0.01788, abs=1e-5)
    assert found.ci_high == pytest.approx(0.40415, abs=1e-5)


@pytest.mark.parametrize(("successes", "low", "high"), [(0, 0.0, 3.8415 / 8.8415), (5, 5 / 8.8415, 1.0)])
def test_wilson_at_the_ends(successes, low, high):
    interval = wilson(successes, 5)
    assert interval.ci_low == pytest.approx(low, abs=1e-4)
    assert interval.ci_high == pytest.approx(high, abs=1e-4)


def test_no_items_have_no_value():
    for nothing in (wilson(0, 0), clustered_mean([], []), mean_by_size([])):
        assert not nothing.known
        assert not nothing.excludes_zero
        assert nothing.plain() == {"value": None, "ci_low": None, "ci_high": None, "n": 0}


def test_impossible_counts_are_refused():
    with pytest.raises(DataError, match="3 successes of 2 items"):
        wilson(3, 2)


def test_items_of_a_cluster_are_drawn_together():
    """Two clusters, all ones and all zeros: a resample's mean is 0, 1/2 or 1 with 1/4, 1/2, 1/4."""
    values = [1.0] * 50 + [0.0] * 50
    together = clustered_mean(values, ["a"] * 50 + ["b"] * 50)
    assert (together.value, together.ci_low, together.ci_high) == (0.5, 0.0, 1.0)
    apart = clustered_mean(values, range(100))
    assert apart.ci_low > 0.35  # about 0.5 +- 1.96 x sqrt(0.25 / 100) = 0.5 +- 0.098
    assert apart.ci_high < 0.65
    assert (together.n, apart.n) == (100, 100)


def test_mean_weighs_values_not_clusters():
    assert clustered_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).value == 0.75
    assert clustered_sums([3.0, 0.0], [3, 1]) == clustered_mean([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"])


def test_many_clusters_that_are_alike():
    """20,000 items, half of them met: 0.5 +- 1.96 x sqrt(0.25 / 20,000) = 0.5 +- 0.00693."""
    mean = clustered_sums([1.0, 0.0] * 10_000, [1] * 20_000)
    assert mean.value == 0.5
    assert mean.ci_low == pytest.approx(0.49307, abs=6e-4)
    assert mean.ci_high == pytest.approx(0.50693, abs=6e-4)


def test_same_seed_same_interval():
    values = [0.37 * i * i for i in range(30)]
    assert clustered_mean(values, range(30)) == clustered_mean(values, range(30))
    assert clustered_mean(values, range(30), seed=1) != clustered_mean(values, range(30), seed=2)


def test_paired_difference_removes_what_the_items_share():
    first = [float(i % 2) for i in range(40)]
    second = [value + 0.5 for value in first]
    found = paired_difference(first, second, range(40))
    # All 40 differ by 0.5. At most 3.8415 / 43.8415 = 0.08762 of others would not (Wilson for 0 of 40), and those lie
    # between -1 and 1: 0.5 - 0.08762 x 1.5 and 0.5 + 0.08762 x 0.5.
    assert found.value == 0.5
    assert (found.ci_low, found.ci_high) == (pytest.approx(0.36857, abs=1e-4), pytest.approx(0.54381, abs=1e-4))


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match="cannot be paired"):
        paired_difference([1.0], [1.0, 0.0], ["a"])
    with pytest.raises(DataError, match="one cluster per value"):
        clustered_mean([1.0], [])


def test_values_that_agree_get_the_interval_of_as_many_clusters():
    """Twenty ones are 20 of 20: Wilson's lower bound is 20 / (20 + 3.8415)."""
    assert clustered_mean([1.0] * 20, range(20)) == wilson(20, 20)
    none = clustered_mean([0.0] * 20, range(20))
    assert (none.value, none.ci_low) == (0.0, 0.0)
    assert none.ci_high == pytest.approx(3.8415 / 23.8415, abs=1e-4)
    # Five prompts of two say no more than five prompts of one.
    together = clustered_mean([1.0] * 10, [prompt for prompt in range(5) for _ in range(2)])
    assert (together.ci_low, together.ci_high, together.n) == (pytest.approx(5 / 8.8415, abs=1e-4), 1.0, 10)
    assert share_interval([True] * 10, [prompt for prompt in range(5) for _ in range(2)]) == together


def test_unequal_clusters_that_agree_count_by_what_they_are_worth():
    # Sizes 1, 1, 1 and 7: 10^2 / (1 + 1 + 1 + 49) = 100 / 52 clusters, not four and not ten.
    found = clustered_sums([1.0, 1.0, 1.0, 7.0], [1, 1, 1, 7])
    worth = 100 / 52
    assert found.ci_low == pytest.approx(worth / (worth + 3.8415), abs=1e-4)
    assert found.ci_high == 1.0


def test_two_models_that_never_differ_are_bounded():
    # None of 100 pairs differs: at most 3.8415 / 103.8415 of others do, by at most one.
    same = paired_difference([1.0, 0.0] * 50, [1.0, 0.0] * 50, range(100))
    assert (same.value, same.ci_high) == (0.0, pytest.approx(0.03699, abs=1e-4))
    assert same.ci_low == -same.ci_high
    assert not same.excludes_zero


def test_a_stratum_that_agrees_still_widens_the_whole():
    spread = Stratum([[float(row % 2)] for row in range(100)], [[1]] * 100)
    agreed = Stratum([[1.0]] * 10, [[1]] * 10)
    alone = stratified_mean_of_parts([spread], (1.0,))
    both = stratified_mean_of_parts([spread, agreed], (1.0,))
    # Half of each stratum's length below, in quadrature; that of ten ones is 3.8415 / 13.8415.
    expected = ((alone.value - alone.ci_low) ** 2 + (3.8415 / 13.8415) ** 2) ** 0.5 / 2
    assert both.value == 0.75
    assert both.value - both.ci_low == pytest.approx(expected, abs=0.005)


def test_rows_that_are_alike_are_the_clusters_they_stand_for():
    spelled_out = clustered_sums([1.0, 1.0, 0.0, 0.0, 0.0], [1] * 5)
    assert stratified_mean_of_parts([Stratum([[1.0], [0.0]], [[1], [1]], [2, 3])], (1.0,)) == spelled_out


def test_measurements_of_several_seeds_weigh_by_their_size():
    seeds = [wilson(0, 1), wilson(90, 100), wilson(90, 100, unscored=3)]
    found = mean_by_size(seeds)
    assert (found.value, found.n, found.unscored) == (pytest.approx(180 / 201), 201, 3)
    # Wilson: 0 of 1 up to 3.8415 / 4.8415; 90 of 100 from 0.82563 to 0.94477.
    assert found.ci_low == pytest.approx(200 * 0.82563 / 201, abs=1e-4)
    assert found.ci_high == pytest.approx((200 * 0.94477 + 0.79345) / 201, abs=1e-4)


def test_seeds_as_units_have_the_t_interval():
    # 0.08, 0.09, 0.10: deviation 0.01, t with two degrees of freedom 4.3027: 0.09 +- 4.3027 x 0.01 / sqrt(3).
    found = over_seeds([0.08, 0.09, 0.10])
    assert (found.value, found.n) == (pytest.approx(0.09), 3)
    assert found.ci_high - found.value == pytest.approx(4.3027 * 0.01 / 3**0.5)
    assert over_seeds([0.1]) is None
    # Twenty seeds: t with 19 degrees of freedom is 2.0930; half of them at -1 and 1 deviate by sqrt(20 / 19).
    assert over_seeds([-1.0, 1.0] * 10).ci_high == pytest.approx(2.0930 * (20 / 19) ** 0.5 / 20**0.5, abs=1e-4)
    equal = over_seeds([0.1, 0.1])
    assert not equal.excludes_zero  # two seeds that agree by chance show nothing


def test_an_estimate_as_it_is_shown():
    estimate = Estimate(0.5, 0.25, 0.625, 8, unscored=2)
    assert (estimate.shown(), estimate.shown(signed=True)) == ("50.0 [25.0, 62.5]", "+50.0 [+25.0, +62.5]")
    assert estimate.unscored_share == 0.2
    assert estimate.excludes_zero
