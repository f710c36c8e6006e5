"""The gate: champions are beaten on the same items, in their lineage, and every decision is kept."""

import json
import logging

import pytest

from spar_core.records import EvalItem, EvalScore
from storage import catalog
from storage.entries import StageRun, utc_now
from tasks.gate import Comparison, Contest, champion_of, is_decided, lineage_of
from tests.tasks.gate_bench import GateBench, share


@pytest.fixture
def bench(tmp_path, monkeypatch):
    found = GateBench(tmp_path, monkeypatch)
    found.run("r", base="base")
    return found


@pytest.fixture
def reigning(bench):
    """A champion that is right on the first half of 300 prompts."""
    measured = bench.measured("r-actor-0", share(150, 300))
    bench.first("r", measured)
    return measured


def _contest(bench, candidate, own, champions, run_id="r"):
    return Contest(candidate, bench.champion(run_id, candidate.role), Comparison(own, champions))


def test_a_better_candidate_is_promoted_on_evidence(bench, reigning):
    candidate = bench.register("r", 1, "actor", "new", parent="r-actor-0")
    better = bench.measured("new", share(200, 300))
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, better, reigning))
    assert (entry.decision, entry.version, entry.champion_version, entry.metric) == ("promoted", 2, 1, "accuracy")
    assert (entry.value, entry.champion_value) == (pytest.approx(2 / 3), 0.5)
    assert (entry.difference, entry.n) == (pytest.approx(1 / 6), 300)
    # 50 of 300 pairs differ, all one way: a standard error of sqrt(1/6 x 5/6 / 300) = 0.02152.
    assert entry.ci_low == pytest.approx(1 / 6 - 1.96 * 0.02152, abs=0.006)
    assert "[+12." in entry.reason
    assert bench.champion("r").model.digest == "new"
    assert bench.registry.tags["actor", 2] == ("promoted", entry.reason)
    with catalog.open_catalog(bench.home) as opened:
        rows = opened.rows("SELECT role, version, decision, difference, time, stage_key FROM promotions ORDER BY time")
    assert [(row["role"], row["version"], row["decision"]) for row in rows] == [
        ("actor", 1, "first"),
        ("refiner", 1, "first"),
        ("actor", 2, "promoted"),
    ]
    assert rows[-1]["stage_key"] == better.stage_key


def test_a_refusal_is_a_row_a_tag_and_a_line(bench, reigning, caplog):
    candidate = bench.register("r", 1, "actor", "worse")
    with caplog.at_level(logging.INFO):
        (entry,) = bench.ask("r", 1, _contest(bench, candidate, bench.measured("worse", share(120, 300)), reigning))
    assert entry.decision == "refused"
    assert "worse" in entry.reason
    assert bench.champion("r").version == 1
    assert bench.registry.tags["actor", 2] == ("refused", entry.reason)
    assert f"actor/2 is not promoted: {entry.reason}" in caplog.text
    (row,) = _promotions(bench, "decision = 'refused'")
    assert (row["run_id"], row["iteration"], row["reason"]) == ("r", 1, entry.reason)


def test_what_too_few_items_leave_open_is_refused_until_the_margin_allows_it(bench):
    """Ten items, one gained and one lost: the difference of zero may well be twenty points."""
    measured = bench.measured("r-actor-0", share(5, 10))
    bench.first("r", measured)
    candidate = bench.register("r", 1, "actor", "new")
    as_good = bench.measured("new", [*share(4, 5), *share(1, 5)])
    contest = _contest(bench, candidate, as_good, measured)
    (entry,) = bench.ask("r", 1, contest)
    assert (entry.decision, entry.difference, entry.n) == ("refused", 0.0, 10)
    assert "may be worse by more than promotion.margin 5 points" in entry.reason
    other = bench.register("r", 2, "actor", "again")
    again = bench.measured("again", [*share(4, 5), *share(1, 5)])
    (entry,) = bench.ask("r", 2, _contest(bench, other, again, measured), margin=0.5)
    assert entry.decision == "promoted"


def test_a_look_at_a_few_items_does_not_count(bench, reigning):
    """The champion, 0.50 of 300, had a look of five items at 1.0; a candidate of 0.66 is promoted all the same."""
    look = [EvalScore("starter", "actor", "r-actor-0", "accuracy", 1.0, 0.57, 1.0, 5)]
    bench._commit("starter_scores", "look", "eval_scores", look)
    used = {"stage": "starter_scores", "stage_key": "look", "state": "completed", "started": utc_now()}
    bench.runtime.ledger.record_stage(StageRun(run_id="eval-1", iteration=0, **used))
    with catalog.open_catalog(bench.home) as opened:
        assert opened.rows("SELECT max(value) AS best FROM eval_scores WHERE metric = 'accuracy'") == [{"best": 1.0}]
    candidate = bench.register("r", 1, "actor", "new")
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, bench.measured("new", share(200, 300)), reigning))
    assert (entry.decision, entry.champion_value) == ("promoted", 0.5)


@pytest.mark.parametrize(
    ("how", "what"),
    [({"prompts": "ten-others"}, "the prompts"), ({"samples": 3}, "the settings"), ({"stage": "other"}, "the stage")],
)
def test_other_prompts_or_settings_are_not_comparable(bench, reigning, how, what):
    """A look of ten items at 0.90 is no measurement of a champion."""
    candidate = bench.register("r", 1, "actor", "new")
    look = bench.measured("r-actor-0", share(9, 10), **how)
    own = bench.measured("new", share(299, 300))
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, own, look))
    assert entry.decision == "refused"
    assert entry.reason == f"not comparable with champion actor/1: {what} of the two measurements differ"
    assert entry.difference is None


def test_a_champion_that_could_not_be_measured_is_not_beaten(bench, reigning):
    candidate = bench.register("r", 1, "actor", "new")
    measured = Comparison(bench.measured("new", share(300, 300)), None, "it could not be measured (no GPU)")
    (entry,) = bench.ask("r", 1, Contest(candidate, bench.champion("r"), measured))
    assert (entry.decision, entry.reason) == (
        "refused",
        "not comparable with champion actor/1: it could not be measured (no GPU)",
    )


def test_two_worlds_in_one_home_do_not_meet(bench, reigning):
    """A model of 0.55 in its own world is no worse than the 0.66 of a toy in another."""
    bench.run("llama", base="llama-8b", world="verifiable")
    assert bench.champion("llama") is None
    bench.first("llama", bench.measured("llama-actor-0", share(55, 100), prompts="verifiable"))
    ours, theirs = (lineage_of(bench.runtime.ledger, run) for run in ("r", "llama"))
    assert ours != theirs
    for role in ("actor", "refiner"):
        aliases = bench.registry.aliases[role]
        assert aliases == {f"champion-{ours}": 1, f"champion-{theirs}": 2, "champion": 2}
    # The next promotion in the first lineage makes `champion` its champions again, both of them.
    candidate = bench.register("r", 1, "actor", "new")
    bench.ask("r", 1, _contest(bench, candidate, bench.measured("new", share(200, 300)), reigning))
    assert bench.registry.aliases["actor"]["champion"] == 3
    assert bench.registry.aliases["refiner"]["champion"] == 1
    assert bench.champion("llama").version == 2


def test_the_same_base_in_another_world_is_another_lineage(bench):
    bench.run("same", base="base")
    bench.run("elsewhere", base="base", world="verifiable")
    lineages = [lineage_of(bench.runtime.ledger, run) for run in ("r", "same", "elsewhere")]
    assert lineages[0] == lineages[1] != lineages[2]
    assert lineage_of(bench.runtime.ledger, "unheard-of") not in lineages


def test_nothing_measured_is_said_and_may_be_made_good(bench, reigning, caplog):
    candidate = bench.register("r", 1, "actor", "new")
    off = Contest(candidate, bench.champion("r"), Comparison(None, None, "evaluation.enabled is off"))
    with caplog.at_level(logging.WARNING):
        (entry,) = bench.ask("r", 1, off)
        bench.ask("r", 1, off)
    assert (entry.decision, bench.champion("r").version) == ("unmeasured", 1)
    assert caplog.text.count("actor/2 is not promoted: evaluation.enabled is off") == 1
    assert bench.registry.decision("actor", 2) == "unmeasured"
    assert not is_decided(str(bench.home.root), "r", candidate)
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, bench.measured("new", share(200, 300)), reigning))
    assert entry.decision == "promoted"
    assert len(_promotions(bench, "version = 2 AND role = 'actor'")) == 1


def test_asking_again_neither_duplicates_nor_flips(bench, reigning):
    second = bench.register("r", 1, "actor", "second")
    better = bench.measured("second", share(200, 300))
    bench.ask("r", 1, _contest(bench, second, better, reigning))
    third = bench.register("r", 2, "actor", "third")
    bench.ask("r", 2, _contest(bench, third, bench.measured("third", share(250, 300)), better))
    rows = _promotions(bench)
    for iteration, candidate in ((1, second), (2, third), (1, second)):
        assert is_decided(str(bench.home.root), "r", candidate)
        bench.ask("r", iteration, Contest(candidate, None))
    assert _promotions(bench) == rows
    assert bench.champion("r").version == 3


def test_a_decision_cut_off_before_its_alias_is_carried_out(bench, reigning):
    candidate = bench.register("r", 1, "actor", "new")
    contest = _contest(bench, candidate, bench.measured("new", share(200, 300)), reigning)
    promote = bench.registry.promote
    bench.registry.promote = _dies
    with pytest.raises(KeyboardInterrupt):
        bench.ask("r", 1, contest)
    bench.registry.promote = promote
    assert bench.champion("r").version == 1
    bench.ask("r", 1, Contest(candidate, None))
    assert (bench.champion("r").version, bench.registry.decision("actor", 2)) == (2, "promoted")


def test_weights_that_stay_the_same_keep_the_title(bench, reigning):
    """A frozen refiner is registered in every iteration; it is its own champion."""
    candidate = bench.register("r", 1, "actor", "r-actor-0")
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, reigning, None), rule="better")
    assert (entry.decision, entry.difference, entry.reason) == ("promoted", 0.0, "the weights of champion actor/1")
    assert bench.champion("r").version == 2


def test_a_champion_whose_weights_are_gone_makes_room(bench, reigning):
    candidate = bench.register("r", 1, "actor", "new")
    gone = Comparison(bench.measured("new", share(10, 300)), None, "the weights of champion actor/1 are gone (/x)")
    (entry,) = bench.ask("r", 1, Contest(candidate, None, gone))
    assert (entry.decision, entry.reason) == ("first", gone.problem)


def test_a_home_from_before_lineages_goes_on(bench):
    """It has the alias `champion` alone, and no promotions."""
    bench.registry.aliases = {role: {"champion": 1} for role in ("actor", "refiner")}
    root = str(bench.home.root)
    assert champion_of(root, "r", "actor").version == 1
    bench.run("other", base="another base")
    assert champion_of(root, "other", "actor") is None
    measured = bench.measured("r-actor-0", share(150, 300))
    candidate = bench.register("r", 1, "actor", "new")
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, bench.measured("new", share(200, 300)), measured))
    assert (entry.decision, entry.champion_version) == ("promoted", 1)
    assert bench.champion("r").model.digest == "new"


def test_a_judge_is_compared_on_right_and_wrong_answers_alike(bench):
    bench.first("r")
    old = bench._commit("eval_refiner", "old", "eval_items", _verdicts("r-refiner-0", 90, 2))
    new = bench._commit("eval_refiner", "new", "eval_items", _verdicts("new", 80, 9))
    candidate = bench.register("r", 1, "refiner", "new")
    (entry,) = bench.ask("r", 1, _contest(bench, candidate, new, old))
    assert entry.metric == "judge_balanced_accuracy"
    assert entry.champion_value == pytest.approx((90 / 90 + 2 / 10) / 2)
    assert entry.value == pytest.approx((80 / 90 + 9 / 10) / 2)
    assert entry.decision == "promoted"


def _verdicts(digest, right, wrong):
    """Of 90 right answers `right` were called right, of 10 wrong ones `wrong` were called wrong."""
    truths = [(True, True)] * right + [(True, False)] * (90 - right)
    truths += [(False, True)] * wrong + [(False, False)] * (10 - wrong)
    return [
        EvalItem("self_play", "refiner", digest, f"{digest}-{number}", f"prompt {number}", "judge", float(met), detail)
        for number, (truth, met) in enumerate(truths)
        for detail in [json.dumps({"truth": truth})]
    ]


def _promotions(bench, where="true"):
    with catalog.open_catalog(bench.home) as opened:
        return opened.rows(f"SELECT * FROM promotions WHERE {where} ORDER BY time")


def _dies(*_):
    raise KeyboardInterrupt
