"""`spar ui`: the Prefect and MLflow interfaces on one home."""

import subprocess
import sys
import time
from pathlib import Path

import click
import httpx

from flows.commands.options import home_option, opened
from spar_core.errors import SparError
from storage.home import Home

_START_TIMEOUT_S = 180.0


@click.command()
@home_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port of Prefect.  [default: a free one]")
@click.option("--mlflow-port", type=click.IntRange(1, 65535), help="Port of MLflow.  [default: a free one]")
def ui(home: Path | None, port: int | None, mlflow_port: int | None) -> int:
    """Start the Prefect and MLflow UIs on this home and print their addresses; Ctrl-C stops them.

    \b
    Example:
      spar ui --port 4200 --mlflow-port 5000
    """
    from flows.prefect_server import find_server, prepare_environment, start_server, stop_server

    where = opened(home)
    prepare_environment(where)
    known = find_server(where)
    server = known or start_server(where, port)
    mlflow = None
    try:
        mlflow = _start_mlflow(where, mlflow_port)
        click.echo(f"Prefect  {server.ui_url}\nMLflow   {mlflow.url}\nCtrl-C stops them.")
        while mlflow.process.poll() is None:
            time.sleep(0.5)
        raise SparError(f"the MLflow server ended; see {mlflow.log}")
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return 0
    finally:
        if mlflow is not None:
            mlflow.stop()
        if known is None:
            stop_server(where)


class _MlflowServer:
    def __init__(self, process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _start_mlflow(home: Home, port: int | None) -> _MlflowServer:
    from spar_core.ports import free_port
    from storage.mlflow_store import artifact_root, tracking_uri

    number = port or free_port()
    home.logs.mkdir(parents=True, exist_ok=True)
    home.mlflow.mkdir(parents=True, exist_ok=True)
    log = home.logs / "mlflow-server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(number)]
    command += [
        "--backend-store-uri",
        tracking_uri(home),
        "--default-artifact-root",
        artifact_root(home),
        "--workers",
        "1",
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    server = _MlflowServer(process, f"http://127.0.0.1:{number}", log)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{server.url}/health", timeout=2.0).status_code == httpx.codes.OK:
                return server
        except httpx.HTTPError:
            time.sleep(0.3)
    server.stop()
    raise SparError(f"the MLflow server did not start on port {number}; see {log}")
