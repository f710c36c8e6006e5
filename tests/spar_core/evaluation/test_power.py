"""What a paired comparison can see: worked by hand, and at the promised rate over seeded repeats."""

import math
from random import Random

import pytest

from spar_core.evaluation.comparison import Observation, paired_change
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.power import Sensitivity, sensitivity

_REACH = 1.959964 + 0.841621


def test_the_detectable_drop_is_as_far_as_both_quantiles_of_its_own_error():
    found = Sensitivity(n=400, noise=0.1, design=1.5)
    drop = found.detectable
    error = math.sqrt(1.5 * (0.1 + drop - drop**2) / 400)
    assert drop == pytest.approx(_REACH * error, rel=1e-5)


def test_so_many_pairs_as_a_drop_needs_detect_it():
    found = Sensitivity(n=400, noise=0.1, design=1.5)
    needed = found.pairs_for(0.02)
    assert found._replace(n=needed).detectable <= 0.02 < found._replace(n=needed - 1).detectable


def test_without_a_flip_only_the_drop_itself_is_noise():
    # With p the share that drops, Connor's n = reach**2 * (p - p**2) / p**2; for p = 0.5 that is reach**2 = 7.85.
    assert Sensitivity(n=100, noise=0.0, design=1.0).pairs_for(0.5) == 8


def test_what_was_seen_is_taken_from_pairs_and_interval():
    # Of ten pairs two became worse and one better: mean -0.1, mean square 0.3, so 0.2 flipped both ways.
    before = [Observation(n, n, float(n < 5)) for n in range(10)]
    after = [Observation(n, n, {0: 0.0, 1: 0.0, 5: 1.0}.get(n, float(n < 5))) for n in range(10)]
    half = 1.959963984540054 * 0.2
    found = sensitivity(before, after, Estimate(-0.1, -0.1 - half, -0.1 + half, 10))
    assert found.n == 10
    assert found.noise == pytest.approx(0.2)
    assert found.design == pytest.approx(0.2**2 / ((0.3 - 0.01) / 10))


def test_a_few_items_promise_nothing():
    one = [Observation("x", "x", 1.0)]
    assert sensitivity(one, one, Estimate(0.0, -0.8, 0.8, 1)).detectable > 0.8


@pytest.mark.parametrize(("items", "anew"), [(541, 0.1), (200, 0.4)])
def test_the_detectable_drop_is_caught_at_the_promised_rate(items, anew):
    equal = [_measured(1000 + seed, items, anew, 0.0) for seed in range(10)]
    drop = sum(sensitivity(*pair, paired_change(*pair)).detectable for pair in equal) / len(equal)
    caught = sum(paired_change(*_measured(seed, items, anew, drop)).ci_high < 0 for seed in range(100))
    # 80 of 100 on average with a standard deviation of 4: outside of these in 1 of 300 such tests.
    assert 68 <= caught <= 92


def test_as_many_items_as_a_drop_needs_catch_it_at_the_promised_rate():
    pair = _measured(1000, 541, 0.1, 0.0)
    needed = sensitivity(*pair, paired_change(*pair)).pairs_for(0.05)
    caught = sum(paired_change(*_measured(seed, needed, 0.1, 0.05)).ci_high < 0 for seed in range(100))
    assert 68 <= caught <= 92


def _measured(seed, items, anew, drop):
    """Two measurements: 75 % right, a share answered anew, less a planted drop."""
    rng = Random(seed)
    before = {key: float(rng.random() < 0.75) for key in range(items)}
    after = {}
    for key, value in before.items():
        new = float(rng.random() < 0.75) if rng.random() < anew else value
        after[key] = 0.0 if new and rng.random() < drop / 0.75 else new
    return tuple([Observation(key, key, value) for key, value in side.items()] for side in (before, after))
