"""`spar status` tells how a run ended, also one that came to no stage."""

import json

import pytest

from flows.cli import invoke
from storage.home import Home
from storage.ledger import Ledger
from tests.storage.nights import Nights


@pytest.fixture
def status(tmp_path, capsys):
    home = Home(tmp_path)
    Nights(home, "older", age=1).night(0)

    def ask(*arguments):
        assert invoke(["status", "--home", str(tmp_path), *arguments]) == 0
        return capsys.readouterr().out

    ask.ledger = Ledger(home)
    return ask


def test_the_latest_run_is_shown_with_the_reason_of_its_failure(status):
    status.ledger.open_run("night", {}, "iteration 3")
    status.ledger.close_run("night", "failed", "EngineError: no server answers")
    assert status().splitlines()[-1] == "failed; last: iteration 3, failed: EngineError: no server answers"
    told = json.loads(status("--json"))
    assert (told["run_id"], told["state"], told["activity"]["state"], told["stages"]) == (
        "night",
        "failed",
        "failed",
        [],
    )
    assert "prompts" in status("older")
    assert status("older").splitlines()[-1] == "completed"


def test_a_completed_run_whose_next_night_failed_says_both(status):
    status.ledger.open_run("older", {}, "iteration 1")
    status.ledger.close_run("older", "interrupted", "interrupted")
    assert status().splitlines()[-1] == "completed; last: iteration 1, interrupted: interrupted"
