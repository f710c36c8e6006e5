"""The same command on two "machines" that share a home: the first runs, the second joins its trainings."""

import json
from pathlib import Path

import pytest

from spar_core.ports import free_port
from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRAININGS = {"warm_start_actor", "warm_start_refiner", "train_actor", "train_refiner"}


def test_the_second_joins_every_training_and_ends_with_the_run(tmp_path: Path) -> None:
    launch = {"nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}", "sharding": "full", "threads": 1}
    settings = [f"training.launch.{key}={value}" for key, value in launch.items()]
    settings += ["training.actor.micro_batch_size=2", "evaluation.enabled=false"]
    options = [part for setting in settings for part in ("--set", setting)]
    command = ("run", "--preset", "smoke", "--json", "--home", tmp_path / "home", *options)
    second = started(*command, SPAR_NODE_RANK="1")
    first = started(*command, SPAR_NODE_RANK="0")
    printed, said = first.communicate(timeout=800)
    assert first.returncode == 0, said[-4000:]
    _, told = second.communicate(timeout=60)
    assert second.returncode == 0, told[-4000:]

    assert [row["iteration"] for row in json.loads(printed)["iterations"]] == [0, 1]
    joined = {stage for stage in TRAININGS if f"machine 1: {stage} ended here" in told}
    assert joined == TRAININGS
    states = {entry.stage: entry.state for entry in Ledger(Home(tmp_path / "home")).stages()}
    assert {states[stage] for stage in TRAININGS} == {"completed"}
