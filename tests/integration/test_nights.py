"""Unattended nights: the shipped deployments, a real server, a real worker, runs in processes of their own."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from storage.catalog import open_catalog
from storage.home import Home
from storage.ledger import Ledger
from storage.mlflow_store import tracking_uri
from tests.integration.command_line import SCRIPT
from tests.integration.deployments import (
    artifacts_of,
    completed,
    ended,
    flow_run,
    flow_runs_below,
    messages,
    reached,
    set_state,
    task_runs_of,
    triggered,
)

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(1500)]
NIGHT = [
    "iterations=2",
    "prompts.per_iteration=12",
    "warm_start.source=none",
    "evaluation.prompts=12",
    "evaluation.refiner_items=6",
    "evaluation.calibration_items=6",
    "training.actor.max_steps=1",
    "training.refiner.max_steps=1",
    "promotion.rule=better",  # one step makes nobody better beyond its interval: every candidate is refused
]
SCRIPTED = [
    "iterations=1",
    "engine.kind=scripted",
    f"engine.script={SCRIPT}",
    "engine.latency_s=0.4",
    "orchestration.requests_in_flight=4",
    "warm_start.source=none",
    "evaluation.enabled=false",
    "prompts.per_iteration=20",
    "train_refiner=false",
    "method.refiner_data.replay_fraction=0",
    "training.actor.max_steps=1",
]
"""A minute or more of questions, then one short training."""


def of_home(home: Home, overrides: list[str]) -> dict[str, object]:
    return {"request": {"preset": "smoke", "home": str(home.root), "overrides": overrides}}


def mlflow_states(home: Home, run_id: str) -> dict[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(home))
    found = client.search_runs(
        [e.experiment_id for e in client.search_experiments()], f"tags.`spar.run_id` = '{run_id}'"
    )
    return {run.info.run_name: run.info.status for run in found}


def mlflow_tags(home: Home, name: str, version: int) -> dict[str, str]:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(home)).get_model_version(name, str(version)).tags


def log_of(which: object) -> str:
    """Prefect's log of a flow run and of the flow runs below it."""
    return "\n".join(line for run in (which, *flow_runs_below(which)) for line in messages(run))


def test_two_nights_go_on_from_each_other_and_then_the_run_is_complete(worker, tmp_path):
    home = Home(tmp_path / "home")
    first = completed(triggered("iteration/iteration", of_home(home, NIGHT)), worker)

    (run,) = Ledger(home).runs()
    assert (run.state, run.activity.state, run.activity.flow_run) == ("waiting", "completed", str(first.id))
    assert {entry.iteration for entry in Ledger(home).models(run.run_id)} == {0, 1}
    assert first.name == f"{run.run_id}, iteration 1"
    assert {f"home:{home.identity}", f"run:{run.run_id}", "spar"} <= set(first.tags)
    below = flow_runs_below(first)
    assert [(entry.name, entry.state_name) for entry in below] == [("warm start", "Completed")]
    tasks = task_runs_of(first, *below)
    assert set(tasks.values()) <= {"Completed", "Cached"}
    assert {"pairs-1", "register-0", "register-1"} <= set(tasks)
    assert mlflow_states(home, run.run_id)[run.run_id] == "SCHEDULED"
    assert home.lock_holder() is None

    second = completed(triggered("iteration/iteration", of_home(home, NIGHT)), worker)

    (run,) = Ledger(home).runs()
    assert run.state == "completed"
    assert second.name == f"{run.run_id}, iteration 2"
    weights = {(entry.role, entry.iteration): entry for entry in Ledger(home).models(run.run_id)}
    assert {iteration for _, iteration in weights} == {0, 1, 2}
    assert set(mlflow_states(home, run.run_id).values()) == {"FINISHED"}
    said = messages(second)
    assert any(line.startswith("prompts, iteration 2: 12 rows in, 12 out, 0 dropped; computed") for line in said)
    assert any(line.startswith("responses, iteration 2: ") and line.endswith(" tokens") for line in said)
    shown = artifacts_of(second)
    stages = {row["stage"]: row for row in json.loads(shown[f"stages-{run.run_id}-2"])}
    assert (stages["prompts"]["rows in"], stages["prompts"]["state"]) == ("12", "computed")
    assert (home.root / stages["pairs"]["artifact"]).is_dir()
    assert "#/experiments/" in shown[f"mlflow-{run.run_id}-2"]
    with open_catalog(home) as catalog:
        rows = catalog.rows("SELECT role, iteration, version, decision, reason FROM promotions ORDER BY iteration")
    decided = [row for row in rows if row["role"] == "actor"]
    assert [(row["iteration"], row["decision"]) for row in decided] == [(0, "first"), (1, "refused"), (2, "refused")]
    assert weights["actor", 2].parent_digest == weights["actor", 0].digest != weights["actor", 1].digest
    refused = decided[1]
    assert refused["reason"]
    tags = mlflow_tags(home, "actor", refused["version"])
    assert (tags["spar.decision"], tags["spar.decision_because"]) == ("refused", refused["reason"])
    assert f"actor/{refused['version']} is not promoted: {refused['reason']}" in log_of(first)


@pytest.fixture
def alarms(prefect_server: str) -> Iterator[list[dict[str, str]]]:
    """What the automation's webhook was told."""
    from flows.serving.alarms import set_alarm

    told: list[dict[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    automation = set_alarm(f"http://127.0.0.1:{server.server_address[1]}/")
    yield told
    automation.delete()
    server.shutdown()


def asked(worker: Path) -> list[str]:
    file = worker.parent / "asked.log"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def questions_begin(worker: Path, least: int) -> None:
    deadline = time.monotonic() + 240
    while len(asked(worker)) < least:
        assert time.monotonic() < deadline, worker.read_text()[-4000:]
        time.sleep(0.2)


def test_a_night_is_not_overrun_is_cancelled_and_goes_on_when_it_is_retried(worker, tmp_path, alarms):
    from prefect.states import AwaitingRetry, Cancelling

    home = Home(tmp_path / "home")
    (worker.parent / "asked.log").unlink(missing_ok=True)
    night = triggered("iteration/iteration", of_home(home, SCRIPTED))
    questions_begin(worker, 30)

    overlapping = ended(triggered("iteration/iteration", of_home(home, SCRIPTED)), worker)
    assert overlapping.state_name == "Cancelled"
    assert "concurrency limit" in overlapping.state.message
    other = ended(triggered("self_play/self-play", of_home(home, SCRIPTED)), worker)
    assert (other.state_name, other.state.is_cancelled()) == ("Skipped", True)
    assert f"{home.root} is in use by iteration of smoke-" in other.state.message
    assert flow_run(night).state_name == "Running"

    holder = psutil.Process(home.lock_holder())
    family = [holder, *holder.children(recursive=True)]
    set_state(night, Cancelling())
    cancelled = reached(night, lambda state: state.is_cancelled(), worker, 90)
    assert cancelled.state_name == "Cancelled"
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    (run,) = Ledger(home).runs()
    assert (run.state, run.activity.state) == ("interrupted", "interrupted")
    assert not set(task_runs_of(cancelled).values()) & {"Running", "Pending", "AwaitingRetry"}

    answered = set(asked(worker))
    (worker.parent / "asked.log").unlink()
    set_state(night, AwaitingRetry())  # what the button does
    retried = completed(night, worker)
    assert retried.run_count == 2
    assert len(answered & set(asked(worker))) <= 2 * 2 * 4  # what was in flight: two shards, each with so many
    (run,) = Ledger(home).runs()
    assert run.state == "completed"

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(alarms) < 3:
        time.sleep(0.5)
    texts = " | ".join(alarm["text"] for alarm in alarms)
    assert "is Skipped: " in texts
    assert "is Cancelled: " in texts
    assert str(home.root) in texts
