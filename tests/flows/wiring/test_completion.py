"""When there is nothing left to do for a run."""

import pytest

from flows.wiring.completion import is_finished
from flows.wiring.request import RunRequest
from storage.entries import StageRun, utc_now
from storage.ledger import Ledger


@pytest.fixture
def run(tmp_path):
    found = RunRequest(preset="smoke", home=str(tmp_path), run_id="r", iterations=1).resolve()
    ledger = Ledger(found.home)
    ledger.open_run("r", found.config.model_dump(mode="json"), whole=True)
    ledger.close_run("r", "completed")
    return found


def _stage(run, iteration, state):
    entry = {"run_id": "r", "stage": "eval_actor", "stage_key": "k", "iteration": iteration, "state": state}
    Ledger(run.home).record_stage(StageRun(**entry, started=utc_now()))


@pytest.mark.parametrize(("iteration", "why"), [(4, "a night after the last iteration"), (None, "a champion")])
def test_what_failed_beside_its_iterations_does_not_begin_a_finished_run_again(run, iteration, why):
    _stage(run, iteration, "failed")
    assert is_finished(run), why


def test_an_iteration_of_its_own_that_is_cut_off_is_missed(run):
    _stage(run, 1, "running")
    assert not is_finished(run)


def test_an_artifact_that_is_gone_is_missed_wherever_it_belongs(run):
    _stage(run, 4, "completed")
    assert not is_finished(run)
