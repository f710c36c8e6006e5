"""The shipped deployments on a real server: a process worker runs an iteration in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import ROOT, environment

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE_S = 270


@pytest.fixture(scope="module")
def prefect(prefect_server: str) -> Any:
    """The `prefect` command line on the shared server."""
    variables = environment(**{name: value for name, value in os.environ.items() if name.startswith("PREFECT_")})

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "prefect", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    run.variables = variables  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def deployed(prefect: Any) -> str:
    prefect("work-pool", "create", "local", "--type", "process")
    return str(prefect("--no-prompt", "deploy", "--all"))


@pytest.fixture
def worker(prefect: Any, deployed: str, tmp_path: Path) -> Iterator[None]:
    """A worker started elsewhere than in the repository, as a service manager would."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local", "--name", "test"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env=prefect.variables, start_new_session=True
        )
    yield
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_every_deployment_of_prefect_yaml_is_accepted(deployed):
    from prefect import get_client

    with get_client(sync_client=True) as client:
        found = {f"{entry.name}": entry for entry in client.read_deployments()}
    assert set(found) == {"self-play", "iteration", "evaluation", "experiment"}
    assert {entry.work_pool_name for entry in found.values()} == {"local"}
    (schedule,) = found["iteration"].schedules
    assert (schedule.schedule.cron, schedule.active) == ("0 2 * * *", True)
    assert not found["self-play"].schedules


def test_a_worker_runs_an_iteration_and_then_measures_it(deployed, worker, tmp_path):
    home = Home(tmp_path / "home")
    request = {"preset": "smoke", "home": str(home.root), "overrides": ["prompts.per_iteration=12"]}

    first = ended(triggered("iteration/iteration", {"request": request}), tmp_path)

    assert first.state_name == "Completed"
    runs = runs_below(first)
    assert {name for name, _ in runs["flows"]} == {"warm_start"}
    assert {state for _, state in runs["flows"]} == {"Completed"}
    tasks = dict(runs["tasks"])
    assert tasks["train_actor-1"] == tasks["pairs-1"] == tasks["register-1"] == "Completed"
    assert set(tasks.values()) <= {"Completed", "Cached"}
    (run,) = Ledger(home).runs()
    assert {entry.iteration for entry in Ledger(home).models(run.run_id)} == {0, 1}
    assert home.lock_holder() is None

    measured = ended(triggered("evaluation/evaluation", {"request": request}), tmp_path)
    assert measured.state_name == "Completed"


def triggered(name: str, parameters: dict[str, Any]) -> Any:
    from prefect.deployments import run_deployment

    return run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)


def ended(flow_run: Any, folder: Path) -> Any:
    from prefect import get_client

    deadline = time.monotonic() + PATIENCE_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            now = client.read_flow_run(flow_run.id)
            if now.state is not None and now.state.is_final():
                if not now.state.is_completed():
                    raise AssertionError(f"{now.state!r}\n{(folder / 'worker.log').read_text()[-4000:]}")
                return now
            time.sleep(1)
    raise AssertionError(f"still {now.state!r} after {PATIENCE_S} s\n{(folder / 'worker.log').read_text()[-4000:]}")


def runs_below(flow_run: Any) -> dict[str, list[tuple[str, str]]]:
    """(name, state) of the flow runs a flow run started, and of the task runs of all of them."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId

    with get_client(sync_client=True) as client:
        parent = FlowRunFilterParentFlowRunId(any_=[flow_run.id])
        below = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
        names = {flow.id: flow.name for flow in client.read_flows()}
        ids = [flow_run.id, *(run.id for run in below)]
        deadline = time.monotonic() + 30  # task runs arrive as events, a little late
        while True:
            tasks: list[Any] = []
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=ids))
            while page := client.read_task_runs(flow_run_filter=chosen, offset=len(tasks)):
                tasks += page
            if time.monotonic() > deadline or all(task.state.is_final() for task in tasks):
                break
            time.sleep(0.5)
    return {
        "flows": [(names[run.flow_id], run.state_name) for run in below],
        "tasks": [(task.name, task.state_name) for task in tasks],
    }
