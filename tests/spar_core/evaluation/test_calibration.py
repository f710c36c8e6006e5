"""A judge's figures on votes whose truth is known; every expected value is worked out in the test."""

import pytest

from spar_core.evaluation.calibration import (
    error_causes,
    judge_quality,
    quality_by_kind,
    quality_by_source,
    reliability,
)
from spar_core.evaluation.judged_texts import JudgedText


def text(number: int, share: float | None, broken: str = "", kinds: str = "a b") -> JudgedText:
    said = None if share is None else share > 0.5
    return JudgedText(f"p{number}", tuple(kinds.split()), tuple(broken.split()), said, share)


# Failing: three called NO, one passed. Right: three passed, one called NO. One without a majority.
JUDGED = [
    text(0, 0.0, "a"),
    text(1, 0.2, "a b"),
    text(2, 0.4, "b"),
    text(3, 1.0, "b"),
    text(4, 1.0),
    text(5, 0.8, kinds="a"),
    text(6, 0.6, kinds="b"),
    text(7, 0.4, kinds="b"),
    text(8, None, "a"),
]


def found(figures):
    return {f.metric: (pytest.approx(f.interval.value), f.interval.n) for f in figures if f.interval}


def test_the_positive_class_is_no():
    precise = [text(0, 0.0, "a"), text(1, 1.0, "a"), text(2, 0.8, "a"), text(3, 0.2, "a"), text(4, 1.0), text(5, 0.0)]
    # Called NO: 0, 3, 5, of which 5 is right. Failing: 0 to 3, of which 0 and 3 are called NO. Right: 4 passes, 5 not.
    assert found(judge_quality(precise)) == {
        "judge_precision": (2 / 3, 3),
        "judge_recall": (0.5, 4),
        "judge_specificity": (0.5, 2),
        "judge_balanced_accuracy": (0.5, 6),
    }


def test_a_text_without_a_majority_counts_nowhere():
    assert found(judge_quality(JUDGED))["judge_recall"] == (0.75, 4)


def test_without_failing_texts_there_is_a_reason_instead_of_a_figure():
    figures = {figure.metric: figure for figure in judge_quality([text(0, 1.0), text(1, 0.8)])}
    assert figures["judge_specificity"].interval.value == 1.0
    for metric in ("judge_recall", "judge_balanced_accuracy"):
        assert figures[metric].interval is None
        assert figures[metric].reason == "no failing text was judged"
    assert figures["judge_precision"].reason == "nothing called NO"


def test_precision_is_not_given_where_the_share_of_failing_texts_was_chosen():
    metrics = {figure.metric for figure in judge_quality(JUDGED, "_own", sampled_by_truth=True)}
    assert metrics == {"judge_recall_own", "judge_specificity_own", "judge_balanced_accuracy_own"}


def test_a_kind_is_judged_on_texts_that_break_it_and_right_ones_that_hold_it():
    kinds = found(quality_by_kind(JUDGED))
    # a: broken in 0 and 1 (both NO); right in 4 and 5 (both YES). b: broken in 1, 2 (NO), 3 (YES); right in 4, 6, 7.
    assert kinds["judge_recall/a"] == (1.0, 2)
    assert kinds["judge_specificity/a"] == (1.0, 2)
    assert kinds["judge_recall/b"] == (2 / 3, 3)
    assert kinds["judge_specificity/b"] == (2 / 3, 3)
    assert kinds["judge_precision/b"] == (2 / 3, 3)
    assert kinds["judge_balanced_accuracy/b"] == (2 / 3, 6)


def test_what_was_overlooked_is_told_by_texts_that_break_one_kind_alone():
    causes = found(error_causes(JUDGED, "_own"))
    assert causes["judge_overlooked_own/a"] == (0.0, 1)  # text 0; text 1 breaks b as well
    assert causes["judge_overlooked_own/b"] == (0.5, 2)  # 2 and 3, of which 3 passed
    assert causes["judge_missed_own/a"] == (0.0, 1)  # the one that passed, 3, breaks b
    assert causes["judge_missed_own/b"] == (1.0, 1)
    assert causes["judge_false_alarm_own/a"] == (0.0, 2)
    assert causes["judge_false_alarm_own/b"] == (1 / 3, 3)


def test_reliability_is_the_share_right_per_vote_share():
    votes = [text(0, 1.0), text(1, 1.0), text(2, 1.0, "a"), text(3, 0.6), text(4, 0.2, "a"), text(5, 0.0, "a")]
    curve = found(reliability(votes))
    assert curve["judge_reliability/1.0"] == (2 / 3, 3)
    assert curve["judge_reliability/0.6"] == (1.0, 1)
    assert curve["judge_reliability/0.2"] == (0.0, 1)
    assert curve["judge_reliability/0.0"] == (0.0, 1)
    # |3 - 2| in the bin at 1, |0.6 - 1|, |0.2 - 0| and 0, over six texts
    assert curve["judge_calibration_error"] == ((1 + 0.4 + 0.2) / 6, 6)


@pytest.mark.parametrize(("share", "place"), [(1 / 3, "0.4"), (2 / 3, "0.6"), (0.1, "0.2"), (0.09, "0.0")])
def test_other_numbers_of_votes_fall_to_the_nearest_fifth(share, place):
    assert f"judge_reliability/{place}" in found(reliability([text(0, share)]))


def test_texts_of_one_prompt_do_not_count_as_independent():
    one_each = [text(number, 0.0, "a") if number < 10 else text(number, 1.0, "a") for number in range(20)]
    paired = [entry._replace(prompt_id=f"p{number % 10 // 5 * 5}") for number, entry in enumerate(one_each)]
    wide, narrow = (judge_quality(texts)[0].interval for texts in (paired, one_each))
    assert wide.value == narrow.value == 0.5
    together = [entry._replace(prompt_id="p0" if entry.share == 0.0 else "p1") for entry in one_each]
    whole = judge_quality(together)[0].interval
    assert (whole.ci_low, whole.ci_high) == (0.0, 1.0)  # two prompts, one always found and one never


def test_a_perfectly_calibrated_judge_may_have_no_error():
    fifths = [text(10 * share + n, share / 5, "" if n < 2 * share else "a") for share in range(6) for n in range(10)]
    error = next(figure.interval for figure in reliability(fifths) if figure.metric == "judge_calibration_error")
    assert error.value == pytest.approx(0.0)
    assert error.ci_low == 0.0


def test_each_half_of_a_world_is_told_apart():
    seen = [text(0, 0.0, "a"), text(1, 1.0)]
    unseen = [text(2, 1.0, "a"), text(3, 1.0, "a"), text(4, 0.0, "b"), text(5, 0.8)]
    both = [t._replace(source="w/iid") for t in seen] + [t._replace(source="w/heldout") for t in unseen]
    figures = found(quality_by_source(both))
    assert figures["judge_recall/iid"] == (1.0, 1)
    assert figures["judge_recall/heldout"] == (1 / 3, 3)
    assert figures["judge_balanced_accuracy/heldout"] == (2 / 3, 4)
    assert quality_by_source([t._replace(source="w/iid") for t in JUDGED]) == []
