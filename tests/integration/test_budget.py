"""A whole run at its budget: it ends cleanly, says why, and goes on with a higher one without asking anything twice."""

import json

import pytest

from tests.integration.command_line import SCRIPTED, spar

RUN = ("--preset", "smoke", "--set", "warm_start.source=none", "--set", "evaluation.enabled=false", *SCRIPTED)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_stops_at_its_budget_and_goes_on(tmp_path):
    home, asked = tmp_path / "home", tmp_path / "asked"
    run = ("run", *RUN, "--set", "train_refiner=false", "--home", home, "--json")
    stopped = spar(*run, "--set", "budget.tokens=3000", SCRIPT_LOG=str(asked), timeout=600)
    assert stopped.returncode == 1
    assert "of budget.tokens=3,000 tokens" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    before = asked.read_text().splitlines()
    told = json.loads(spar("status", "--home", home, "--json").stdout)
    assert told["activity"]["state"] == "failed"
    assert told["activity"]["detail"].startswith("BudgetError")
    spent = told["spent"]["tokens_read"] + told["spent"]["tokens_written"]
    assert 3000 <= spent < 6000  # an answer of a stage that has just begun may be longer than those before

    finished = spar(*run, "--set", "budget.tokens=10000000", SCRIPT_LOG=str(asked), timeout=600)
    assert finished.returncode == 0, finished.stderr
    after = asked.read_text().splitlines()
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)  # nothing was asked twice
    told = json.loads(finished.stdout)
    assert told["spent"]["tokens_read"] + told["spent"]["tokens_written"] > spent
    assert told["spent"]["hours"] > 0
