"""The work of a stage follows from who judges."""

import pytest

from spar_core.config.loading import build_config
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.facts import Facts
from spar_core.planning.stage_work import work_of


def _work(stage, anchor, prompt_set="default", verdict="text", **given):
    judging = {"anchor": anchor, "verdict": verdict}
    method = {"judging": judging, "prompt_set": prompt_set}
    values = {"prompts": {"source": "verifiable"}, "method": method, "warm_start": {"source": "none"}}
    return work_of(stage, Facts(build_config(values), Assumptions(), given))


def test_where_rules_alone_judge_no_vote_is_planned():
    voted, ruled = (_work("judgements", anchor, responses=100) for anchor in ("none", "rules_only"))
    assert (voted.kind, voted.tables["votes"], voted.requests) == ("write", 500, 100)
    assert (ruled.kind, ruled.tables["votes"], ruled.requests, ruled.written) == ("compute", 0, 0, 0)
    assert ruled.tables["judgements"] == voted.tables["judgements"]


def test_and_a_search_writes_its_rewrites_alone():
    voted, ruled = (_work("trees", anchor, roots=10) for anchor in ("none", "rules_only"))
    assert ruled.tables == voted.tables
    assert 0 < ruled.written < voted.written
    assert 0 < ruled.requests < voted.requests
    assert 0 < ruled.read < voted.read


def test_the_refiner_is_measured_by_its_votes_and_as_rules_judge_or_by_what_it_is_used_for():
    anchors = ("none", "rules_then_votes", "rules_only")
    by_votes, both, by_rules = (_work("eval_refiner", anchor) for anchor in anchors)
    searched = by_rules.rows * Assumptions().failing_prompts
    alone, voted = (_work("trees", anchor, roots=1) for anchor in ("rules_only", "rules_then_votes"))
    assert by_rules.written == pytest.approx(searched * alone.written)  # the rewrites
    assert both.written - by_votes.written == pytest.approx(searched * voted.written)
    assert by_votes.written > by_rules.written > 0


def test_verdicts_that_are_continued_are_a_request_per_vote_that_reads_all_of_it_again():
    read, continued = (_work("judgements", "none", verdict=how, responses=100) for how in ("text", "continuation"))
    assert continued.requests == read.requests + 500
    # 900 tokens of request and 350 of the vote; two tokens of the verdict
    assert continued.read == read.read + 500 * (900 + 350)
    assert continued.written == read.written + 500 * 2
    for stage in ("trees", "eval_refiner", "eval_votes"):
        one, other = (_work(stage, "none", verdict=how, roots=10) for how in ("text", "continuation"))
        assert (one.requests, one.read, one.written) < (other.requests, other.read, other.written)


def test_a_vote_on_each_constraint_is_asked_about_the_task_and_three_of_them():
    whole, each = (_work("judgements", "none", prompts, responses=100) for prompts in ("default", "per_constraint"))
    assert (each.requests, each.read, each.written) == (4 * whole.requests, 4 * whole.read, 4 * whole.written)
    assert each.tables == whole.tables
    by_rule = _work("judgements", "rules_then_votes", "per_constraint", responses=100)  # the task is left to ask about
    assert by_rule.written == whole.written
    assert _work("eval_votes", "rules_then_votes", "per_constraint").written == 4 * _work("eval_votes", "none").written


def test_a_probe_asks_an_answer_a_vote_and_a_rewrite_of_each_request():
    probe = _work("probe", "none")
    assert (probe.rows, probe.requests) == (20, 60)
    assert probe.written == 20 * 3 * 256  # all three are cut at the probe's limit
    assert probe.read == 20 * (200 + (250 + 200 + 256) + (250 + 200 + 256 + 256))
    assert _work("probe", "none", verdict="continuation").requests == 80


def test_a_refiner_that_nobody_asks_for_a_vote_learns_rewrites_alone():
    voted, ruled = (_work("refiner_data", anchor, trees=100, judgements=400) for anchor in ("none", "rules_only"))
    accepted = round(100 * Assumptions().pairs_per_tree)
    assert ruled.tables["refiner_examples"] == accepted
    assert voted.tables["refiner_examples"] > 2 * accepted
