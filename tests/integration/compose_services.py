"""The services of deploy/compose.yaml as processes of this machine, with the commands and variables of the file."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from spar_core.ports import free_port
from spar_core.training.process_group import stop_group
from tests.integration.command_line import ROOT

FILE = ROOT / "deploy" / "compose.yaml"
SECRETS = {"POSTGRES_PASSWORD": "correcthorse", "STORE_PASSWORD": "batterystaple"}
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
