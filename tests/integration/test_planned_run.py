"""A plan beside the run that it is the plan of: its stages, what it reuses, and how long it really took."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.command_line import SCRIPTED, spar

RUN = ("--preset", "smoke")


def told(*arguments: str | Path) -> dict[str, Any]:
    process = spar(*arguments, "--json")
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def computed(home: Path) -> dict[tuple[int, str], dict[str, Any]]:
    stages = told("status", "--home", home)["stages"]
    return {(stage["iteration"], stage["stage"]): stage for stage in stages if not stage["cached"]}


def test_a_plan_knows_the_stages_of_its_run_and_reuses_what_is_there(tmp_path: Path) -> None:
    home, quick = tmp_path / "home", ("--set", "warm_start.source=none", *SCRIPTED)
    before = told("plan", *RUN, *quick, "--home", home)
    assert {stage["state"] for stage in before["stages"]} == {"compute"}
    process = spar("run", *RUN, *quick, "--set", "training.actor.max_steps=1", "--home", home, "--json")
    assert process.returncode == 0, process.stderr
    ran = {stage["stage"] for stage in told("status", "--home", home)["stages"] if stage["state"] == "completed"}
    assert {stage["stage"] for stage in before["stages"]} == ran
    after = told("run", *RUN, *quick, "--set", "training.actor.max_steps=1", "--home", home, "--dry-run")
    assert {stage["state"] for stage in after["stages"]} == {"reuse"}
    assert after["seconds"] == 0
    # Another learning rate: the data are there, the training and what follows it are not.
    other = told("plan", *RUN, *quick, "--set", "training.actor.learning_rate=5e-5", "--home", home)
    states = {stage["stage"]: stage["state"] for stage in other["stages"] if stage["iteration"] == 1}
    assert (states["trees"], states["pairs"], states["train_actor"], states["eval_actor"]) == (
        "reuse",
        "reuse",
        "compute",
        "compute",
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_plan_of_a_starter_run_is_near_what_it_took(tmp_path: Path) -> None:
    first = tmp_path / "first"
    process = spar("run", *RUN, "--home", first, "--json", timeout=900)
    assert process.returncode == 0, process.stderr
    took = computed(first)
    plan = told("plan", *RUN, "--rates", first, "--home", tmp_path / "fresh")
    assert {stage["state"] for stage in plan["stages"]} == {"compute"}
    assert plan["seconds"] == pytest.approx(sum(stage["seconds"] for stage in took.values()), rel=0.2)
    for stage in plan["stages"]:
        if stage["stage"] in ("responses", "judgements", "trees", "eval_actor"):
            key = (stage["iteration"], stage["stage"])
            assert stage["rows"] == pytest.approx(took[key]["rows_in"], rel=0.5)
