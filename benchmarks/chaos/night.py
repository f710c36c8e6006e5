"""One attempt of a deployment as an operator runs it: a Prefect server, a worker, a flow run that is waited for.

    python -m benchmarks.chaos.night FOLDER REQUEST

Exit code 0 where the flow run completed. Server and worker end with this process; FOLDER keeps the server's
database, so that the next attempt meets what the last one left there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from spar_core.ports import free_port

ROOT = Path(__file__).parents[2]
START_S, NIGHT_S = 120.0, 800.0


def main(folder: Path, request: str) -> int:
    """Deploy, have a worker run it, and tell how it ended."""
    os.environ["PREFECT_HOME"] = str(folder / "prefect-home")
    with _server(), _process("worker", "start", "--pool", "local", "--name", "night"):
        _prefect("work-pool", "create", "local", "--type", "process", "--overwrite")
        _prefect("--no-prompt", "deploy", "--name", "self-play")
        return _night(json.loads(request))


def _night(request: dict[str, object]) -> int:
    from prefect import get_client  # Prefect reads the server's address when it is imported
    from prefect.client.schemas.objects import FlowRun
    from prefect.deployments import run_deployment

    run = run_deployment("self_play/self-play", parameters={"request": request}, timeout=0, as_subflow=False)
    assert isinstance(run, FlowRun)  # asked outside of a flow it is no coroutine
    deadline = time.monotonic() + NIGHT_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            state = client.read_flow_run(run.id).state
            if state is not None and state.is_final():
                print(f"{run.name}: {state.name}: {state.message}", flush=True)
                return 0 if state.is_completed() else 1
            time.sleep(0.5)
    print(f"{run.name} did not end within {NIGHT_S:.0f} s", flush=True)
    return 1


@contextmanager
def _server() -> Iterator[None]:
    port = free_port()
    os.environ["PREFECT_API_URL"] = url = f"http://127.0.0.1:{port}/api"
    with _process("server", "start", "--host", "127.0.0.1", "--port", str(port)):
        deadline = time.monotonic() + START_S
        while True:
            try:
                if httpx.get(f"{url}/health", timeout=2).is_success:
                    break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, "the Prefect server did not start"
                time.sleep(0.2)
        yield


@contextmanager
def _process(*arguments: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "prefect", *arguments], start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _prefect(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "prefect", *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
