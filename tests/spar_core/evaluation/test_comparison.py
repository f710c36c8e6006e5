import pytest

from spar_core.evaluation.comparison import Observation, clustered_change, paired_change, stratified_mean


def test_strata_weigh_the_same():
    # right: (1 + 0) / 2; wrong: (1 + 1 + 1 + 0) / 4; their mean is 0.625
    values = [("right", 1), ("right", 0), ("wrong", 1), ("wrong", 1), ("wrong", 1), ("wrong", 0)]
    items = [Observation(index, index, value, stratum) for index, (stratum, value) in enumerate(values)]
    found = stratified_mean(items)
    assert (found.value, found.n) == (0.625, 6)
    assert found.ci_low < 0.625 < found.ci_high


def test_only_items_measured_both_times_are_compared():
    before = [Observation(key, key, 0.0) for key in "abcd"]
    after = [Observation(key, key, 1.0) for key in "xbcd"]
    found = paired_change(before, after)
    # Three pairs, all from 0 to 1: Wilson's bound for none of three is 0.56150, of a difference that may be -1.
    assert (found.value, found.ci_high, found.n) == (1.0, 1.0, 3)
    assert found.ci_low == pytest.approx(1 - 2 * 3.8415 / 6.8415, abs=1e-4)
    assert paired_change(before, [Observation("x", "x", 1.0)]) is None
    assert stratified_mean([]) is None


def test_a_prompt_seen_with_three_seeds_is_no_more_certain_than_with_one():
    values = {prompt: float(prompt % 3 == 0) for prompt in range(30)}
    one = [Observation((0, prompt), prompt, value) for prompt, value in values.items()]
    three = [Observation((seed, prompt), prompt, value) for seed in range(3) for prompt, value in values.items()]
    once, thrice = stratified_mean(one), stratified_mean(three)
    assert (thrice.value, thrice.ci_low, thrice.ci_high) == pytest.approx((once.value, once.ci_low, once.ci_high))
    assert thrice.n == 90
    apart = [observation._replace(cluster=observation.key) for observation in three]
    assert stratified_mean(apart).ci_low > stratified_mean(three).ci_low


def test_the_interval_of_even_clusters_is_that_of_the_binomial():
    # 400 independent items, half of them 1: standard error 0.025, so 0.5 +- 0.049
    items = [Observation(index, index, float(index % 2)) for index in range(400)]
    found = stratified_mean(items)
    assert found.value == 0.5
    assert found.ci_low == pytest.approx(0.451, abs=0.006)
    assert found.ci_high == pytest.approx(0.549, abs=0.006)


def test_texts_of_two_models_are_compared_by_prompt_and_not_by_text():
    def judged(name, right, wrong):
        """Ten texts of each truth, so many of them judged rightly, two to a prompt."""
        made = [
            (stratum, hit, n) for stratum, hits in (("true", right), ("false", wrong)) for n, hit in enumerate(hits)
        ]
        return [Observation((name, stratum, n), n // 2, float(hit), stratum) for stratum, hit, n in made]

    before = judged("a", [1] * 8 + [0] * 2, [1] * 2 + [0] * 8)  # balanced: 0.5
    after = judged("b", [1] * 9 + [0], [1] * 5 + [0] * 5)  # 0.7
    found = clustered_change(before, after)
    assert (found.value, found.n) == (pytest.approx(0.2), 40)
    assert -1 <= found.ci_low < 0.2 < found.ci_high <= 1
    assert clustered_change(after, before).value == pytest.approx(-0.2)
    # Equal texts of the same prompts differ by nothing, in every draw.
    same = clustered_change(before, judged("b", [1] * 8 + [0] * 2, [1] * 2 + [0] * 8))
    assert (same.value, same.ci_low, same.ci_high) == pytest.approx((0, 0, 0))
    assert clustered_change(before, judged("b", [1], [])) is None
    assert clustered_change([], []) is None
