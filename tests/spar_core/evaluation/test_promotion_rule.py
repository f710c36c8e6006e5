"""The gate's rule on an interval, and the items it compares."""

import json

import pytest

from spar_core.config.run import PromotionConfig
from spar_core.evaluation.comparison import Observation
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.promotion_rule import duel, gate_metric, gate_observations, rule_on
from spar_core.records import EvalItem


@pytest.mark.parametrize(
    ("low", "high", "gate", "promoted", "said"),
    [
        (0.01, 0.03, {}, True, "better"),
        (-0.02, 0.04, {}, True, "not worse"),
        (-0.05, 0.04, {}, True, "not worse"),  # the margin of five points is just kept
        (-0.06, 0.09, {}, False, "may be worse by more than promotion.margin 5 points"),
        (-0.02, -0.01, {}, False, "worse"),  # surely worse, if by less than the margin
        (-0.06, 0.09, {"margin": 0.1}, True, "not worse"),
        (-0.001, 0.2, {"margin": 0.0}, False, "promotion.margin 0 points"),
        (-0.001, 0.2, {"rule": "better"}, False, "not shown to be better"),
        (0.001, 0.2, {"rule": "better"}, True, "better"),
    ],
)
def test_the_rule(low, high, gate, promoted, said):
    ruling = rule_on(Estimate((low + high) / 2, low, high, 40), PromotionConfig(**gate))
    assert ruling.promoted is promoted
    assert said in ruling.reason
    assert "points on 40 items" in ruling.reason


def _item(cluster, value, metric="accuracy", **detail):
    return EvalItem("self_play", "actor", "d", f"{cluster}-{value}", cluster, metric, value, json.dumps(detail))


def test_samples_of_a_prompt_are_averaged_and_other_items_left_out():
    items = [_item("a", 1.0), _item("a", 0.0), _item("b", 1.0), _item("b", 1.0, "pair")]
    assert gate_observations("actor", items) == [
        Observation(("a", ""), "a", 0.5),
        Observation(("b", ""), "b", 1.0),
    ]


def test_a_verdict_that_cannot_be_read_is_no_better_than_a_wrong_one():
    items = [_item("a", 1.0, "judge", truth=True), _item("b", None, "judge", truth=False)]
    assert gate_observations("refiner", items) == [
        Observation(("a", "True"), "a", 1.0, "True"),
        Observation(("b", "False"), "b", 0.0, "False"),
    ]


def test_where_rules_judge_a_refiner_is_compared_by_what_it_mends():
    items = [_item("a", 1.0, "judge", truth=True), _item("b", 0.0, "fix_in_use"), _item("c", 1.0, "fix_in_use")]
    assert gate_metric("refiner", items) == "fix_rate_in_use"
    assert gate_observations("refiner", items) == [
        Observation(("b", ""), "b", 0.0),
        Observation(("c", ""), "c", 1.0),
    ]
    assert gate_metric("refiner", items[:1]) == "judge_balanced_accuracy"


def test_only_what_both_were_measured_on_decides():
    champion = [Observation(key, key, 0.0) for key in "abcd"]
    candidate = [Observation(key, key, 1.0) for key in "cdef"]
    found = duel(champion, candidate)
    assert (found.champion.value, found.candidate.value, found.difference.n) == (0.0, 1.0, 2)
    assert duel(champion, []) is None
