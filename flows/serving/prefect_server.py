"""A Prefect server of the home's own, started when none is configured and stopped by the last who uses it.

An ephemeral (in-process) server loses events when the process ends, so a real one is used always. Import this
module before `prefect`: it settles the environment that Prefect reads at import.

One that dies under a run is started again at its address, and Prefect's clients, who try for a minute, never notice.

`prefect/server.json` says which process the server is and which processes use it: a run and an open `spar ui` share
one, and whoever leaves last stops it. Processes are known by pid and time of start, the home by its random id, so that
neither a pid that somebody else has by now nor a copied home ever leads to a stranger's server.
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from spar_core.errors import ConfigError, SparError
from spar_core.log_end import log_end
from spar_core.processes import process_mark
from storage.addresses import port_to_listen_on
from storage.disk import disk_errors, read_json, write_json
from storage.home import Home

START_TIMEOUT_S = 180.0
DATABASE_VARIABLE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
"""Environment variable that names the server's database; without it, an SQLite file in the home. Prefect's own."""
_DRIVERS = ("postgresql+asyncpg://", "sqlite+aiosqlite://")
REVIVALS = 5
"""Times a run starts a server again that died under it."""
WATCH_S = 1.0
"""Seconds between two looks at the server."""
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
    # The server keeps the whole log of a run; the terminal has the reporter's lines, and warnings.
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",  # the line of a stage says more than "Completed()"
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_CLI_PROMPT": "false",
}
_LOG = logging.getLogger(__name__)
_THIS_MACHINE = ("127.0.0.1", "localhost")


class ServerAddress(NamedTuple):
    """Where a Prefect server answers."""

    api_url: str

    @property
    def ui_url(self) -> str:
        """Address to open in a browser."""
        return self.api_url.removesuffix("/api")


class _Record(BaseModel):
    """The server of a home and those who use it, as process marks (`pid:start`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    api_url: str
    server: str
    home: str
    users: tuple[str, ...]

    def living_users(self) -> tuple[str, ...]:
        return tuple(mark for mark in self.users if _lives(mark))


def prepare_environment(home: Home) -> None:
    """Point Prefect at the home; settings the user made in the environment stay.

    Whatever proxy the environment names, servers on this machine are reached without it.

    Raises:
        ConfigError: the database that is named is of a kind that Prefect does not take.
    """
    database = os.environ.get(DATABASE_VARIABLE)
    if database and not database.startswith(_DRIVERS):
        raise ConfigError(f"{DATABASE_VARIABLE} must begin with {' or '.join(_DRIVERS)}")
    os.environ.setdefault("PREFECT_HOME", str(home.prefect))
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in [name for name in ("no_proxy", "NO_PROXY") if name in os.environ] or ["NO_PROXY"]:
        direct = [entry.strip() for entry in os.environ.get(name, "").split(",") if entry.strip()]
        if "*" not in direct:
            os.environ[name] = ",".join(dict.fromkeys([*direct, *_THIS_MACHINE]))


@contextmanager
def running_server(home: Home, port: int | None = None) -> Iterator[ServerAddress]:
    """A healthy server: the one in PREFECT_API_URL, the one this home runs, or a new one; the last user stops it.

    Raises:
        SparError: no server became healthy in time, or the configured one does not answer.
    """
    prepare_environment(home)
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        if not is_healthy(configured):
            raise SparError(f"PREFECT_API_URL is {configured} but nothing answers there; start that server or unset it")
        try:
            with _known_to_prefect(configured):
                yield ServerAddress(configured)
        finally:
            stop_client()
        return
    address = join_server(home, port)
    os.environ["PREFECT_API_URL"] = address.api_url
    try:
        with kept_alive(home, address), _known_to_prefect(address.api_url):
            yield address
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        stop_client()
        leave_server(home)


@contextmanager
def _known_to_prefect(api_url: str) -> Iterator[None]:
    """Prefect reads its settings when it is imported; where that was before the server was known, it reads them now.

    Else it would start a server of its own, in which the flow runs of the block are lost.
    """
    if "prefect" not in sys.modules:
        yield
        return
    from prefect import context, settings

    before = context.GLOBAL_SETTINGS_CONTEXT
    if settings.PREFECT_API_URL.value() != api_url:
        context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()
    try:
        yield
    finally:
        context.GLOBAL_SETTINGS_CONTEXT = before


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


def join_server(home: Home, port: int | None = None) -> ServerAddress:
    """The home's server, started if there is none; it stays until every process that joined has left or died.

    Raises:
        SparError: it did not become healthy; the message names its log.
    """
    home.settle()
    with _guarded(home):
        known = _record(home)
        if known is not None and not is_healthy(known.api_url):
            _stop(known.server)
            known = None
        if known is None:
            known = _started(home, port or port_to_listen_on(home, "prefect"))
        _write(home, known, (*known.living_users(), _this_process()))
    return ServerAddress(known.api_url)


def leave_server(home: Home) -> None:
    """Use the home's server no longer; it is stopped unless somebody else does. Returns when it is gone."""
    with _guarded(home):
        known = _record(home)
        if known is None:
            return
        others = list(known.living_users())
        with suppress(ValueError):
            others.remove(_this_process())  # once: this process may have joined several times
        if others:
            _write(home, known, tuple(others))
            return
        _stop(known.server)
        _state_file(home).unlink(missing_ok=True)


@contextmanager
def kept_alive(home: Home, address: ServerAddress) -> Iterator[None]:
    """Inside the block a server that died is started again, at most `REVIVALS` times, with a warning each time."""
    over = threading.Event()

    def watch() -> None:
        revivals = 0
        while revivals < REVIVALS and not over.wait(WATCH_S):
            try:
                if _revived(home, address):
                    revivals += 1
                    _LOG.warning("the Prefect server died and was started again; its log: %s", _log_file(home))
            except (SparError, OSError) as error:
                revivals += 1
                _LOG.warning("the Prefect server died and cannot be started again: %s", error)

    watcher = threading.Thread(target=watch, name="prefect-server-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _revived(home: Home, address: ServerAddress) -> bool:
    """Start the server again where it is dead; whether that was so. Its other users keep their places."""
    known = _noted(home)
    if known is not None and _lives(known.server):
        return False
    with _guarded(home):
        known = _noted(home)
        if known is not None and (_lives(known.server) or known.api_url != address.api_url):
            return False  # another user was faster
        users = known.living_users() if known is not None else (_this_process(),)
        port = urlsplit(address.api_url).port
        assert port is not None
        _write(home, _started(home, port), users)
    return True


def _started(home: Home, port: int) -> _Record:
    home.logs.mkdir(parents=True, exist_ok=True)
    log = _log_file(home)
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
    record = _Record(api_url=api_url, server=process_mark(process.pid), home=home.identity, users=())
    _write(home, record, (_this_process(),))
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while time.monotonic() < deadline and process.poll() is None:
            if is_healthy(api_url):
                return record
            time.sleep(0.2)
        raise SparError(f"the Prefect server did not start on port {port}. Its log, {log}, ends:\n{log_end(log)}")
    except BaseException:
        _stop(record.server)
        _state_file(home).unlink(missing_ok=True)
        raise


def _record(home: Home) -> _Record | None:
    """What is known of the home's own living server."""
    known = _noted(home)
    return known if known is not None and _lives(known.server) else None


def _noted(home: Home) -> _Record | None:
    """What is known of the home's own server, dead or alive."""
    try:
        known = _Record.model_validate(read_json(_state_file(home)) or {})
    except ValidationError:
        return None
    return known if known.home == home.identity else None


def _write(home: Home, record: _Record, users: tuple[str, ...]) -> None:
    write_json(_state_file(home), record.model_copy(update={"users": users}).model_dump(mode="json"))


@contextmanager
def _guarded(home: Home) -> Iterator[None]:
    """One process at a time joins or leaves: a server that is being started is waited for."""
    with disk_errors(home.prefect):
        home.prefect.mkdir(parents=True, exist_ok=True)
        lock = (home.prefect / "server.lock").open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stop(mark: str) -> None:
    """End a server and its children, which share its process group."""
    pid = int(mark.partition(":")[0])
    for sign, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        if not _lives(mark):
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, sign)
        deadline = time.monotonic() + patience_s
        while _lives(mark) and time.monotonic() < deadline:
            time.sleep(0.05)


def _lives(mark: str) -> bool:
    """Whether the very process that had this mark runs; one of our own children that ended is reaped."""
    pid = mark.partition(":")[0]
    if not pid.isdigit():
        return False
    with suppress(ChildProcessError):
        os.waitpid(int(pid), os.WNOHANG)
    try:
        if psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE:
            return False
    except psutil.NoSuchProcess:
        return False
    return process_mark(int(pid)) == mark


def _this_process() -> str:
    return process_mark(os.getpid())


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers at this address."""
    try:
        return httpx.get(f"{api_url}/health", timeout=2.0, trust_env=False).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _log_file(home: Home) -> Path:
    return home.logs / "prefect-server.log"


def _state_file(home: Home) -> Path:
    return home.prefect / "server.json"
