"""The services of deploy/compose.yaml as processes of this machine, with the commands and variables of the file."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from spar_core.ports import free_port
from spar_core.training.process_group import stop_group
from storage.home import Home
from tests.integration.command_line import ROOT, SCRIPTED
from tests.postgres_server import running_postgres

FILE = ROOT / "deploy" / "compose.yaml"
SECRETS = {"POSTGRES_PASSWORD": "correcthorse", "STORE_PASSWORD": "batterystaple"}
ONE_SHOT = ("databases", "bucket", "deployments")
PATIENCE_S = 600
_VARIABLE = re.compile(r"\$\{(\w+)(?::[?-][^}]*)?\}")
_PROGRAMS = {
    "spar": [sys.executable, "-m", "flows"],
    "prefect": [sys.executable, "-m", "prefect"],
    "mlflow": [sys.executable, "-m", "mlflow"],
    "python": [sys.executable],
}


class Service(NamedTuple):
    """One service: its command, its variables, and what must have happened before it starts."""

    name: str
    command: list[str]
    environment: dict[str, str]
    after: Mapping[str, str]
    """Condition by service."""


def document() -> dict[str, Any]:
    """The file, its variables filled in as compose does."""
    text = _VARIABLE.sub(lambda found: SECRETS.get(found[1], ""), FILE.read_text(encoding="utf-8"))
    return yaml.safe_load(text)


def services() -> list[Service]:
    """All services, each after those it depends on."""
    waiting: dict[str, Any] = dict(document()["services"])
    found: list[Service] = []
    while waiting:
        name = next(each for each in waiting if not set(_conditions(waiting[each])) & set(waiting))
        content = waiting.pop(name)
        found.append(Service(name, content["command"], content.get("environment", {}), _conditions(content)))
    return found


def _conditions(content: Mapping[str, Any]) -> dict[str, str]:
    after = content.get("depends_on", {})
    return (
        dict.fromkeys(after, "service_started")
        if isinstance(after, list)
        else {k: v["condition"] for k, v in after.items()}
    )


class Here:
    """Addresses of the services on this machine, in place of those in compose's network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = {"store:7070": free_port(), "prefect:4200": free_port(), "mlflow:5000": free_port()}
        """Port on this machine by host and port of the file."""

    def text(self, value: str) -> str:
        """A part of a command or a variable, for this machine."""
        for place, port in self.places.items():
            host, _, number = place.partition(":")
            value = re.sub(rf"\b(?:{host}|localhost|127\.0\.0\.1):{number}\b", f"127.0.0.1:{port}", value)
            value = str(port) if value == number else value
        return value.replace("0.0.0.0", "127.0.0.1").replace("/spar/", f"{self.folder}/")

    def variables(self, service: Service) -> dict[str, str]:
        """The whole environment of a service's process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        own = {name: self.text(value) for name, value in service.environment.items()}
        quiet = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PREFECT_HOME": str(self.folder / "prefect")}
        found = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        return {**kept, **quiet, **own, "PATH": found}

    def command(self, service: Service) -> list[str]:
        """The process's command."""
        program, *rest = service.command
        return [*_PROGRAMS.get(program, [program]), *map(self.text, rest)]

    def finished(self, service: Service) -> None:
        """Run a service that ends by itself."""
        ended = subprocess.run(
            self.command(service), env=self.variables(service), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{service.name}: {ended.stdout}{ended.stderr}"

    @contextmanager
    def running(self, service: Service, command: list[str] | None = None) -> Iterator["subprocess.Popen[bytes]"]:
        """A service that goes on, until the block ends; its log is `SERVICE.log`."""
        with (self.folder / f"{service.name}.log").open("ab") as log:
            process = subprocess.Popen(
                command or self.command(service),
                env=self.variables(service),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            stop_group(process)  # with its children: Prefect and MLflow have several


@contextmanager
def running_services(
    here: Here, workers: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """All services, started in order, until the block ends: their processes by name.

    Args:
        here: where they run.
        workers: by name, what each worker's environment has besides that of the file; each does one flow run at a time.
    """
    started: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        *others, worker = services()
        for service in others:
            if service.name == "postgres":
                secrets = {"user": service.environment["POSTGRES_USER"], "password": SECRETS["POSTGRES_PASSWORD"]}
                address = stack.enter_context(running_postgres(["prefect", "mlflow"], service.command, **secrets))
                here.places["postgres:5432"] = int(address.rpartition(":")[2])
            elif service.name == "store":  # another server that speaks S3: this one is no Python package
                moto = [sys.executable, "-m", "moto.server", "--port", str(here.places["store:7070"])]
                started[service.name] = stack.enter_context(here.running(service, moto))
                _answers(here.text("http://store:7070/"))
            elif service.name in ONE_SHOT:
                here.finished(service)
            else:
                started[service.name] = stack.enter_context(here.running(service))
            if service.name in ("prefect", "mlflow"):
                _answers(here.text(document()["services"][service.name]["healthcheck"]["test"][-1]))
        for name, variables in workers.items():
            environment, command = (
                {**worker.environment, **variables},
                [*worker.command, "--name", name, "--limit", "1"],
            )
            own = Service(name, command, environment, worker.after)
            started[name] = stack.enter_context(here.running(own))
        yield started


def _answers(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert httpx.get(address, trust_env=False, timeout=30).is_success
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, f"nothing answers at {address}"
            time.sleep(0.5)


def small_request(home: Home | str) -> dict[str, Any]:
    """A run of one iteration, answered by a script."""
    overrides = [value for value in SCRIPTED if value != "--set"] + ["iterations=1", "evaluation.enabled=false"]
    root = home if isinstance(home, str) else str(home.root)
    return {"preset": "smoke", "home": root, "run_id": "nights", "overrides": overrides}


def triggered(here: Here, deployment: str, request: dict[str, Any], **parameters: Any) -> str:
    """The id of a flow run that was just asked for."""
    api = here.text("http://prefect:4200/api")
    found = httpx.get(f"{api}/deployments/name/{deployment}", trust_env=False, timeout=60).json()
    given = {**found["parameters"], "request": request, **parameters}
    made = httpx.post(
        f"{api}/deployments/{found['id']}/create_flow_run",
        json={"parameters": given, "state": {"type": "SCHEDULED"}},
        trust_env=False,
        timeout=60,
    )
    made.raise_for_status()
    return str(made.json()["id"])


def completed(here: Here, flow_run: str, patience_s: float = 2 * PATIENCE_S) -> None:
    """Waits until a flow run has completed; fails where it ends otherwise."""
    deadline = time.monotonic() + patience_s
    address = here.text(f"http://prefect:4200/api/flow_runs/{flow_run}")
    while True:
        found: dict[str, Any] = httpx.get(address, trust_env=False, timeout=60).json()
        if found["state_type"] == "COMPLETED":
            return
        logs = "".join(file.read_text(errors="replace")[-3000:] for file in here.folder.glob("worker*.log"))
        assert found["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"), f"{found['state']}\n{logs}"
        assert time.monotonic() < deadline, logs
        time.sleep(1)


def registered(here: Here, home: Home) -> None:
    """MLflow's server knows the home's models and shows its run."""
    from mlflow import MlflowClient

    client = MlflowClient(here.text("http://mlflow:5000"))
    experiment = client.get_experiment_by_name(f"spar-{home.identity}")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    names = {model.name for model in client.search_registered_models()}
    assert {f"spar-{home.identity}.{role}" for role in ("actor", "refiner")} <= names
