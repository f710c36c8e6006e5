"""Differences and means over several seeds."""

import pytest

from flows.experiments.differences import by_seed, difference_of
from flows.experiments.outcome import IterationOutcome, RunOutcome
from flows.experiments.results import _Evidence
from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.statistics import wilson


def _items(values):
    """Observations of seeds x prompts from {seed: [value of each prompt]}."""
    return [
        Observation((seed, prompt), prompt, value) for seed, row in values.items() for prompt, value in enumerate(row)
    ]


def test_a_difference_is_told_over_prompts_and_over_seeds():
    before = by_seed(_items(dict.fromkeys(range(3), [0.0] * 10)))
    after = by_seed(_items({seed: [1.0] * hits + [0.0] * (10 - hits) for seed, hits in enumerate((2, 4, 6))}))
    found = difference_of("accuracy", before, after)
    assert {seed: each.value for seed, each in found.by_seed.items()} == pytest.approx({0: 0.2, 1: 0.4, 2: 0.6})
    assert found.pooled.value == pytest.approx(0.4)
    # Deviation 0.2, t with two degrees of freedom: 0.4 +- 4.3027 x 0.2 / sqrt(3).
    assert found.over_seeds.ci_low == pytest.approx(0.4 - 4.3027 * 0.2 / 3**0.5)
    assert found.pooled.excludes_zero
    assert not found.is_shown


def test_one_seed_has_no_interval_over_seeds():
    found = difference_of("accuracy", by_seed(_items({7: [0.0] * 4})), by_seed(_items({7: [1.0] * 4})))
    assert found.over_seeds is None
    assert difference_of("accuracy", by_seed(_items({7: [0.0]})), {}) is None


class _NoItems:
    def observations(self, run_id, seed, number):
        return {}


def test_what_is_measured_on_unequal_numbers_is_averaged_by_them():
    """Three seeds of a reliability point, one of a single text: 0 of 1, 90 of 100, 90 of 100."""
    name = "judge_reliability/0.6"
    runs = [
        RunOutcome(
            variant="a",
            seed=seed,
            run_id=f"a-{seed}",
            complete=True,
            iterations=(IterationOutcome(iteration=0, scores={name: wilson(*counts)}, pairs=0),),
        )
        for seed, counts in enumerate(((0, 1), (90, 100), (90, 100)))
    ]
    found = _Evidence(_NoItems(), runs).variant("a", {}).means[0][name]
    assert (found.value, found.n) == (pytest.approx(180 / 201), 201)
    assert found.ci_low == pytest.approx(200 * 0.82563 / 201, abs=1e-4)
    assert 0.94 < found.ci_high < 0.95
