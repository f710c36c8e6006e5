"""The deployments of prefect.yaml as an operator meets them: a worker's process; flow runs triggered and watched."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.command_line import ROOT, environment

PATIENCE_S = 420


def prefect_variables() -> dict[str, str]:
    return environment(**{name: value for name, value in os.environ.items() if name.startswith("PREFECT_")})


def prefect(*arguments: str) -> str:
    """The `prefect` command line on the shared server."""
    command = [sys.executable, "-m", "prefect", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=prefect_variables(), check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@contextmanager
def running_worker(folder: Path, **extra: str) -> Iterator[Path]:
    """A worker started elsewhere than in the repository, as a service manager would; gives its log."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local", "--name", "test"]
    log = folder / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder, env=prefect_variables() | extra, start_new_session=True
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def triggered(name: str, parameters: dict[str, Any]) -> Any:
    from prefect.deployments import run_deployment

    return run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)


def flow_run(which: Any) -> Any:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(which.id)


def reached(which: Any, wanted: Callable[[Any], bool], log: Path, patience_s: float = PATIENCE_S) -> Any:
    """The flow run once its state is as wanted; shows the worker's log where it ends otherwise."""
    deadline = time.monotonic() + patience_s
    now = flow_run(which)
    while not wanted(now.state):
        over = now.state is not None and now.state.is_final()
        if over or time.monotonic() > deadline:
            raise AssertionError(f"{now.name} is {now.state!r}\n{log.read_text()[-6000:]}")
        time.sleep(0.5)
        now = flow_run(which)
    return now


def completed(which: Any, log: Path) -> Any:
    return reached(which, lambda state: state is not None and state.is_completed(), log)


def ended(which: Any, log: Path) -> Any:
    return reached(which, lambda state: state is not None and state.is_final(), log)


def set_state(which: Any, state: Any) -> None:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(which.id, state)


def flow_runs_below(which: Any) -> list[Any]:
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId

    parent = FlowRunFilterParentFlowRunId(any_=[which.id])
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))


def task_runs_of(*which: Any) -> dict[str, str]:
    """States by name of the task runs of some flow runs, once the server has heard of their ends."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in which]))
    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as client:
        while True:
            tasks: list[Any] = []
            while page := client.read_task_runs(flow_run_filter=chosen, offset=len(tasks)):
                tasks += page
            if time.monotonic() > deadline or all(task.state.is_final() for task in tasks):
                return {task.name: task.state_name for task in tasks}
            time.sleep(0.5)


def messages(which: Any) -> list[str]:
    """What Prefect's log of a flow run says."""
    from prefect import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    with get_client(sync_client=True) as client:
        logs = client.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[which.id])), limit=200)
    return [entry.message for entry in logs]


def artifacts_of(which: Any) -> dict[str, Any]:
    """The data of a flow run's artifacts, by key."""
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[which.id]))
    with get_client(sync_client=True) as client:
        return {str(artifact.key): artifact.data for artifact in client.read_artifacts(artifact_filter=chosen)}
