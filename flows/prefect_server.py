"""A Prefect server of the home's own, started when none is configured and left to nobody at the end.

An ephemeral (in-process) server loses events when the process ends, so a real one is used always. Import this
module before `prefect`: it settles the environment that Prefect reads at import.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from spar_core.errors import SparError
from spar_core.ports import free_port
from storage.disk import write_json
from storage.home import Home

START_TIMEOUT_S = 180.0
_CLIENT_STOP_S = 10.0
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # SQLite answers "database is locked" under load with the shipped defaults.
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    # Flow runs that ended a month ago leave the database, with their logs; events after a week.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86400),
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_CLI_PROMPT": "false",
}


class ServerAddress(NamedTuple):
    """Where a Prefect server answers."""

    api_url: str
    pid: int | None
    owner: int
    """Process that started it and stops it."""

    @property
    def ui_url(self) -> str:
        """Address to open in a browser."""
        return self.api_url.removesuffix("/api")


def prepare_environment(home: Home) -> None:
    """Point Prefect at the home; settings the user made in the environment stay."""
    os.environ.setdefault("PREFECT_HOME", str(home.prefect))
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def running_server(home: Home) -> Iterator[ServerAddress]:
    """A healthy server: the one in PREFECT_API_URL, one this home already runs, or a new one stopped at the end.

    Raises:
        SparError: no server became healthy in time, or the configured one does not answer.
    """
    prepare_environment(home)
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        if not _healthy(configured):
            raise SparError(f"PREFECT_API_URL is {configured} but nothing answers there; start that server or unset it")
        try:
            yield ServerAddress(configured, None, os.getpid())
        finally:
            stop_client()
        return
    address = find_server(home)
    # A server whose owner was killed is nobody's: this run takes it over and stops it at the end.
    ours = address is None or not psutil.pid_exists(address.owner)
    if address is None:
        address = start_server(home)
    os.environ["PREFECT_API_URL"] = address.api_url
    try:
        yield address
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        stop_client()
        if ours:
            stop_server(home)


def stop_client() -> None:
    """Deliver what Prefect's background threads still hold and end them; Prefect starts them again when asked.

    They are daemons: left alive, the end of the process freezes them, and all that their frames refer to is never
    freed (compiled modules such as DuckDB's complain of that at exit).
    """
    if "prefect" not in sys.modules:
        return
    from prefect._internal.concurrency import services, threads

    services._QueueServiceBase.drain_all(timeout=_CLIENT_STOP_S)  # Prefect offers no public way
    for loop in (threads.get_run_sync_loop(), threads.get_global_loop()):
        loop.shutdown()
        loop.thread.join(_CLIENT_STOP_S)


def find_server(home: Home) -> ServerAddress | None:
    """The healthy server this home runs, if any."""
    try:
        address = ServerAddress(**json.loads(_state_file(home).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return address if _healthy(address.api_url) else None


def start_server(home: Home, port: int | None = None) -> ServerAddress:
    """Start a server that outlives this process until `stop_server`.

    Raises:
        SparError: it did not become healthy; the message names its log.
    """
    port = port or free_port()
    home.logs.mkdir(parents=True, exist_ok=True)
    home.prefect.mkdir(parents=True, exist_ok=True)
    log = home.logs / "prefect-server.log"
    api_url = f"http://127.0.0.1:{port}/api"
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment, "PREFECT_UI_API_URL": api_url},
            start_new_session=True,
        )
    address = ServerAddress(api_url, process.pid, os.getpid())
    write_json(_state_file(home), address._asdict())
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _healthy(api_url):
            return address
        if process.poll() is not None:
            break
        time.sleep(0.2)
    stop_server(home)
    raise SparError(f"the Prefect server did not start on port {port}; see {log}")


def stop_server(home: Home) -> None:
    """Stop the server this home runs, if any; returns when it is gone."""
    state = _state_file(home)
    try:
        pid = int(json.loads(state.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError):
        return
    if _is_prefect(pid):
        for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, sign)
            if _gone(pid, patience):
                break
    state.unlink(missing_ok=True)


def _gone(pid: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not _is_prefect(pid):
            return True
        time.sleep(0.05)
    return False


def _is_prefect(pid: int) -> bool:
    """Whether the process is still the server: a pid in an old file may belong to someone else by now."""
    try:
        return any("prefect" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _healthy(api_url: str) -> bool:
    try:
        return httpx.get(f"{api_url}/health", timeout=2.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _state_file(home: Home) -> Path:
    return home.prefect / "server.json"
