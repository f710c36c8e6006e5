"""The ledger is right at every moment, also in the middle of a run or after a crash."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from spar_core.errors import StorageError
from storage.entries import ModelEntry, Promotion, StageRun, Start
from storage.home import Home
from storage.ledger import Ledger

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _stage(run_id="r1", iteration=1, stage="responses", minute=0, **changes):
    started = START + timedelta(minutes=minute)
    fields = {"run_id": run_id, "iteration": iteration, "stage": stage, "stage_key": "k", "state": "running"}
    return StageRun(**fields | {"started": started} | changes)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(Home(tmp_path))


def test_a_run_is_opened_once_and_reopened_with_the_configuration_of_now(ledger):
    first = ledger.open_run("r1", {"lr": 1})
    ledger.close_run("r1", "failed")
    again = ledger.open_run("r1", {"lr": 2})
    assert (again.created, again.state, again.config, again.ended) == (first.created, "running", {"lr": 2}, None)
    assert ledger.runs() == [again]
    with pytest.raises(StorageError, match=r"no run 'r2' .*known runs: r1"):
        ledger.close_run("r2", "completed")
    assert ledger.run("r2") is None


def test_a_secret_is_not_written_even_where_it_got_past_the_configuration(ledger, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "canary-known-to-the-process")
    ledger.open_run("r1", {"env": {"HF_TOKEN": "canary"}, "url": "http://me:canary@host/v1", "max_tokens": 3})
    ledger.record_stage(_stage(state="failed", detail="sent canary-known-to-the-process"))
    assert ledger.run("r1").config == {"env": {"HF_TOKEN": "***"}, "url": "http://***@host/v1", "max_tokens": 3}
    assert not any("canary" in file.read_text() for file in tmp_path.rglob("*.json"))


def test_a_stage_is_replaced_in_its_run_and_iteration_only(ledger):
    done = _stage(state="completed", rows_in=3, rows_out=2, rows_dropped=1, seconds=1.5, artifact_uri="artifacts/x")
    others = [_stage(iteration=2, minute=2), _stage(iteration=None, stage="prompts", minute=1), _stage("r2", minute=3)]
    for stage in (_stage(), *others, done):
        ledger.record_stage(stage)
    assert ledger.stages("r1") == [done, others[1], others[0]]
    assert ledger.stages() == [done, others[1], others[0], others[2]]


def test_a_run_begun_anew_under_another_configuration_supersedes_what_it_did(ledger):
    ledger.open_run("r1", {"method": "spar"}, whole=True)
    ledger.record_stage(_stage(stage="trees"))
    assert ledger.open_run("r1", {"method": "spar"}, whole=True).generation == 0  # resumed
    assert ledger.open_run("r1", {"method": "best_of_n"}).generation == 0  # a further iteration keeps what there is
    assert [stage.stage for stage in ledger.stages()] == ["trees"]

    assert ledger.open_run("r1", {"method": "spar", "seed": 1}, whole=True).generation == 1
    assert ledger.stages("r1") == []
    assert [stage.stage for stage in ledger.stages("r1", superseded=True)] == ["trees"]
    again = _stage(stage="trees", minute=1, generation=1)
    ledger.record_stage(again)
    assert ledger.stages() == [again]


def test_a_run_that_is_only_to_go_further_or_otherwise_about_it_keeps_what_it_did(ledger):
    """Nights have gone beyond the configuration's iterations; then it is raised, and limits are changed."""

    def opened(**config):
        return ledger.open_run("r1", config, whole=True, deciding=lambda values: {"seed": values["seed"]}).generation

    opened(seed=0, iterations=2, health={"min_pairs": 1})
    ledger.record_stage(_stage(iteration=5))
    assert opened(seed=0, iterations=3, health={"min_pairs": 0}) == 0
    assert [stage.iteration for stage in ledger.stages("r1")] == [5]
    assert opened(seed=0, iterations=1, health={"min_pairs": 0}) == 1
    assert ledger.stages("r1") == []


def test_models_from_before_a_run_was_begun_anew_are_superseded_until_they_are_registered_again(ledger):
    fields = {
        "run_id": "r1",
        "role": "actor",
        "iteration": 0,
        "name": "actor",
        "version": 1,
        "uri": "/a",
        "digest": "d",
    }
    ledger.open_run("r1", {"seed": 0}, whole=True)
    ledger.record_model(ModelEntry(**fields))
    ledger.open_run("r1", {"seed": 1}, whole=True)
    assert (ledger.current_models("r1"), len(ledger.models("r1"))) == ([], 1)
    ledger.record_model(ModelEntry(**fields))
    assert len(ledger.current_models("r1")) == 1


def test_unreadable_entries_are_left_out_with_a_warning(ledger, tmp_path, caplog):
    ledger.record_stage(_stage())
    folder = tmp_path / "runs" / "r1" / "stages"
    (folder / "001-trees.json").write_text('{"run_id": "r1", "sta')
    (folder / "001-votes.json").write_text('{"run_id": "r1"}')
    (folder / ".001-pairs.json.ab12.tmp").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert ledger.stages() == [_stage()]
    assert ("001-trees.json" in caplog.text, "001-votes.json" in caplog.text) == (True, True)
    assert ledger.runs() == [], "killed before run.json was written"


def test_models_are_kept_by_name_and_version(ledger):
    fields = {"run_id": "r1", "role": "actor", "iteration": 0, "name": "actor", "uri": "/m", "digest": "d"}
    entries = [ModelEntry(version=version, **fields) for version in (2, 1, 2)]
    for entry in entries:
        ledger.record_model(entry)
    assert [entry.version for entry in ledger.models()] == [1, 2]
    assert ledger.models("r2") == []


def test_a_version_is_decided_on_once_and_decisions_come_in_their_order(ledger):
    fields = {"role": "actor", "iteration": 1, "lineage": "l", "metric": "accuracy", "reason": ""}
    late = Promotion(run_id="r1", version=1, decision="unmeasured", time=START + timedelta(hours=1), **fields)
    early = Promotion(run_id="r2", version=2, decision="refused", time=START, **fields)
    for entry in (late.model_copy(update={"time": START + timedelta(hours=2)}), early, late):
        ledger.record_promotion(entry)
    assert ledger.promotions() == [early, late]
    assert ledger.promotion("r1", "actor", 1) == late
    assert ledger.promotion("r1", "refiner", 1) is None


def test_what_an_iteration_began_with_is_kept(ledger):
    start = Start(run_id="r1", iteration=3, actor="a", refiner="b")
    ledger.record_start(start)
    assert (ledger.start("r1", 3), ledger.start("r1", 2)) == (start, None)


def test_a_run_id_cannot_leave_the_home(ledger):
    with pytest.raises(StorageError, match="run id"):
        ledger.open_run("../r1", {})


def test_a_completed_run_stays_completed_whatever_is_done_with_it_later(ledger):
    ledger.open_run("r1", {"lr": 1})
    done = ledger.close_run("r1", "completed")
    for ending in ("failed", "interrupted", "waiting", "completed"):
        assert ledger.open_run("r1", {"lr": 1}, "iteration", flow_run="f").state == "completed"
        after = ledger.close_run("r1", ending, "disk full")
        assert (after.state, after.ended) == ("completed", done.ended)
        assert after.activity.state == ("completed" if ending == "waiting" else ending)
        assert (after.activity.name, after.activity.detail, after.activity.flow_run) == ("iteration", "disk full", "f")
    assert ledger.open_run("r1", {"lr": 2}).state == "running", "another configuration is not complete yet"


def test_the_reason_of_a_failure_holds_no_secret(ledger, monkeypatch):
    monkeypatch.setenv("TRACKER_TOKEN", "canary-of-a-tracker")
    ledger.open_run("r1", {})
    assert ledger.close_run("r1", "failed", "no login with canary-of-a-tracker").activity.detail == "no login with ***"


@pytest.mark.parametrize("before", ["waiting", "failed", "interrupted", "completed"])
def test_looking_at_a_run_from_aside_leaves_its_state_and_configuration(ledger, before):
    ledger.open_run("r1", {"lr": 1})
    closed = ledger.close_run("r1", before)
    ledger.open_run("r1", {"lr": 2}, "evaluation", aside=True)
    after = ledger.close_run("r1", "completed")
    assert (after.state, after.ended, after.config) == (before, closed.ended, {"lr": 1})
    assert (after.activity.name, after.activity.state) == ("evaluation", "completed")


def test_a_night_that_went_well_leaves_its_run_waiting_for_the_next(ledger):
    ledger.open_run("r1", {}, "iteration")
    after = ledger.close_run("r1", "waiting")
    assert (after.state, after.activity.state) == ("waiting", "completed")
    assert ledger.open_run("r1", {}, "iteration").state == "running"


def test_runs_whose_process_died_are_entered_as_interrupted(ledger):
    ledger.open_run("killed", {})
    ledger.open_run("measured", {})
    ledger.close_run("measured", "completed")
    ledger.open_run("measured", {}, "evaluation", aside=True)
    ledger.open_run("done", {})
    done = ledger.close_run("done", "completed")
    assert {run.run_id: (run.state, run.activity.state) for run in ledger.end_dead_runs()} == {
        "killed": ("interrupted", "interrupted"),
        "measured": ("completed", "interrupted"),
    }
    assert ledger.run("done") == done
    assert ledger.end_dead_runs() == []
