"""The work of a stage follows from who judges."""

from spar_core.config.loading import build_config
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.stage_work import Facts, work_of


def _work(stage, anchor, **given):
    config = build_config({"prompts": {"source": "verifiable"}, "method": {"judging": {"anchor": anchor}}})
    return work_of(stage, Facts(config, Assumptions(), given))


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


def test_measuring_the_refiner_asks_for_votes_whoever_judges():
    assert _work("eval_refiner", "rules_only").written == _work("eval_refiner", "none").written > 0
