"""The row an iteration ends with."""

from flows.showing.summary import COLUMNS, IterationRow
from spar_core.evaluation.statistics import wilson

MENDS = COLUMNS.index("search truly fixes %")


def row(**scores):
    return IterationRow(1, scores, pairs=3, drops=0, seconds=1.0).cells()


def test_a_refiner_that_is_measured_in_its_use_alone_shows_that():
    by_votes, in_use = wilson(1, 10), wilson(6, 10)
    assert row(fix_rate=by_votes)[MENDS] == row(fix_rate=by_votes, fix_rate_in_use=in_use)[MENDS] == by_votes.shown()
    assert row(fix_rate_in_use=in_use)[MENDS] == in_use.shown()
    assert row()[MENDS] == "-"
