"""`spar ui`: the Prefect and MLflow interfaces on one home, and `spar view`."""

import os
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import click
import httpx

from flows.commands.options import home_option, opened
from spar_core.errors import SparError
from spar_core.log_end import log_end
from spar_core.secrets import redacted_text
from storage.home import Home

_START_TIMEOUT_S = 180.0
_POLL_S = 0.3


@click.command()
@home_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port of Prefect.  [default: the same every time]")
@click.option("--mlflow-port", type=click.IntRange(1, 65535), help="Port of MLflow.  [default: the same every time]")
def ui(home: Path | None, port: int | None, mlflow_port: int | None) -> int:
    """Start the Prefect and MLflow UIs and `spar view` on this home, print their addresses; Ctrl-C closes them.

    A Prefect server that a run has started is shared with it: whoever ends last stops it. The ports stay the same.

    \b
    Example:
      spar ui --port 4200 --mlflow-port 5000
    """
    from flows.serving.prefect_server import running_server
    from storage.mlflow_store import is_tracking_server, shared_uri

    where = opened(home)
    try:
        with running_server(where, port) as prefect, ExitStack() as started:
            shared = shared_uri()
            servers = [] if shared and is_tracking_server(shared) else [_start_mlflow(where, mlflow_port)]
            mlflow = servers[0].url if servers else redacted_text(shared or "")
            for server in servers:
                started.callback(server.stop)
            servers.append(_start_view(where))
            started.callback(servers[-1].stop)
            click.echo(f"Prefect  {prefect.ui_url}\nMLflow   {mlflow}\nView     {servers[-1].url}")
            click.echo("Ctrl-C ends them, unless a run needs them.")
            while all(server.process.poll() is None for server in servers):
                time.sleep(0.5)
            ended = next(server for server in servers if server.process.poll() is not None)
            raise SparError(f"the {ended.name} server ended; see {ended.log}")
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return 0


class _Server:
    def __init__(self, name: str, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self.name = name
        self.process = process
        self.url = url
        self.log = log

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _start_mlflow(home: Home, port: int | None) -> _Server:
    from storage.addresses import port_to_listen_on
    from storage.mlflow_store import artifact_root, connect, tracking_uri

    connect(home)  # sets right where a moved home keeps its files, and makes a database where there is none
    number = port or port_to_listen_on(home, "mlflow")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(number)]
    command += ["--default-artifact-root", artifact_root(home), "--workers", "1"]
    # In the environment, since everybody on the machine reads a command line.
    return _started(home, "MLflow", command, number, "/health", MLFLOW_BACKEND_STORE_URI=tracking_uri(home))


def _start_view(home: Home) -> _Server:
    from storage.addresses import port_to_listen_on

    number = port_to_listen_on(home, "view")
    command = [sys.executable, "-m", "flows", "view", "--home", str(home.root), "--port", str(number)]
    return _started(home, "view", command, number, "/runs")


def _started(home: Home, name: str, command: list[str], port: int, health: str, **variables: str) -> _Server:
    home.logs.mkdir(parents=True, exist_ok=True)
    log = home.logs / f"{name.lower()}-server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
        )
    server = _Server(name, process, f"http://127.0.0.1:{port}", log)
    try:
        _await(server, health)
    except BaseException:
        server.stop()
        raise
    return server


def _await(server: _Server, health: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and server.process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{server.url}{health}", timeout=2.0, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(_POLL_S)
    raise SparError(
        f"the {server.name} server did not start at {server.url}. Its log, {server.log}, ends:\n{log_end(server.log)}"
    )
