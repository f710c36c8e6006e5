"""Where the figures of a chart stand; heights by hand: 12 px above, 26 below, of 190."""

import math

import pytest

from flows.reporting.curves import HEIGHT, WIDTH, chart
from spar_core.evaluation.estimate import Estimate


def _score(value, low, high):
    return Estimate(value, low, high, 10)


def test_places_of_dots_and_intervals():
    drawn = chart("right %", {"": {0: _score(0.2, 0.1, 0.3), 2: _score(0.6, 0.5, 0.8)}})
    assert [tick.said for tick in drawn.down] == ["0", "20", "40", "60", "80"]
    (line,) = drawn.series
    first, last = line.dots
    assert (first.x, last.x) == (38 + 10, WIDTH - 14 - 10)
    assert first.y == pytest.approx(HEIGHT - 26 - 0.25 * 152)
    assert (first.low, first.high) == (pytest.approx(HEIGHT - 26 - 152 / 8), pytest.approx(HEIGHT - 26 - 152 * 3 / 8))
    assert last.high == pytest.approx(12)
    assert first.said == "iteration 0: 20.0 [10.0, 30.0] (n = 10)"


def test_one_iteration_stands_in_the_middle_and_negative_figures_have_room():
    drawn = chart("points", {"": {3: _score(-0.02, -0.06, 0.04)}})
    assert drawn.series[0].dots[0].x == pytest.approx(38 + 10 + (WIDTH - 38 - 14 - 20) / 2)
    assert (float(drawn.down[0].said), float(drawn.down[-1].said)) == (-10, 5)


def test_several_series_stand_side_by_side():
    drawn = chart("right %", {name: {0: _score(0.5, 0.4, 0.6)} for name in "ab"})
    left, right = (line.dots[0].x for line in drawn.series)
    assert right - left == 7
    assert [line.colour for line in drawn.series] == [0, 1]


def test_a_figure_that_is_not_known_is_not_drawn():
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    assert chart("right %", {"": {0: nothing}}) is None
    drawn = chart("right %", {"": {0: nothing, 1: _score(0.5, 0.4, 0.6)}})
    assert [dot.said[:11] for dot in drawn.series[0].dots] == ["iteration 1"]


def test_a_figure_without_an_interval_stands_alone():
    drawn = chart("right %", {"": {0: Estimate(0.5, math.nan, math.nan, 1)}})
    (dot,) = drawn.series[0].dots
    assert dot.low == dot.y == dot.high


def test_forty_iterations_have_ten_labels_and_the_last_one():
    drawn = chart("right %", {"": {number: _score(0.5, 0.4, 0.6) for number in range(40)}})
    assert [tick.said for tick in drawn.across] == ["3", "7", "11", "15", "19", "23", "27", "31", "35", "39"]
