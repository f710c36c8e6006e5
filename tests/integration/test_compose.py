"""deploy/compose.yaml: valid by compose's specification, and its services really started, one by one in its order."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import ROOT, SCRIPTED
from tests.integration.compose_services import SECRETS, Here, document, services
from tests.postgres_server import running_postgres

PATIENCE_S = 600
ONE_SHOT = ("databases", "bucket", "deployments")


def test_the_file_is_valid_and_every_service_starts_after_what_it_needs():
    import compose_spec

    compose_spec.ComposeSpecification.model_validate(document())
    found = services()
    order = [service.name for service in found]
    assert order.index("worker") == len(order) - 1
    for service in found:
        for needed, condition in service.after.items():
            assert order.index(needed) < order.index(service.name)
            health = "healthcheck" in document()["services"][needed]
            assert condition != "service_healthy" or health, f"{needed} has no healthcheck"
            assert (condition == "service_completed_successfully") == (needed in ONE_SHOT)
    volumes, configs = document()["volumes"], document()["configs"]
    for content in document()["services"].values():
        assert {volume.partition(":")[0] for volume in content.get("volumes", ())} <= set(volumes)
        assert {entry["source"] for entry in content.get("configs", ())} <= set(configs)


def test_the_image_holds_what_the_services_run():
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY")]
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert 'pip install -e ".[bench,postgresql]" "boto3' in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_services_start_in_order_and_two_workers_do_two_runs_at_once(tmp_path):
    here, started = Here(tmp_path), {}
    with ExitStack() as stack:
        for service in services():
            if service.name == "postgres":
                secrets = {"user": service.environment["POSTGRES_USER"], "password": SECRETS["POSTGRES_PASSWORD"]}
                address = stack.enter_context(running_postgres(["prefect", "mlflow"], service.command, **secrets))
                here.places["postgres:5432"] = int(address.rpartition(":")[2])
            elif service.name == "store":  # another server that speaks S3: this one is no Python package
                moto = [sys.executable, "-m", "moto.server", "--port", str(here.places["store:7070"])]
                started[service.name] = stack.enter_context(here.running(service, moto))
                _answers(f"http://127.0.0.1:{here.places['store:7070']}/")
            elif service.name in ONE_SHOT:
                here.finished(service)
            else:
                started[service.name] = stack.enter_context(here.running(service))
            if service.name in ("prefect", "mlflow"):
                _answers(_health(here, service.name))
        worker = services()[-1]
        second = stack.enter_context(here.running(worker._replace(name="worker-2")))
        runs = {"first": "self_play/self-play", "second": "iteration/iteration"}
        homes = {name: Home(tmp_path / name) for name in runs}
        flow_runs = [_triggered(here, runs[name], home) for name, home in homes.items()]
        for flow_run in flow_runs:
            _completed(here, flow_run)
        assert [process.poll() for process in (*started.values(), second)] == [None] * (len(started) + 1)
        for home in homes.values():
            states = [run.state for run in Ledger(home).runs()]
            assert states in (["completed"], ["waiting"]), states
            assert not (home.mlflow / "mlflow.db").exists()
            _registered(here, home)
        assert _objects(here), "MLflow's files lie in the store"
    said = "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
    assert "database is locked" not in said
    assert not [secret for secret in SECRETS.values() if secret in said]


def _health(here: Here, name: str) -> str:
    """The address that the file's health check asks, on this machine."""
    return here.text(document()["services"][name]["healthcheck"]["test"][-1])


def _answers(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert httpx.get(address, trust_env=False, timeout=30).is_success
            return
        except httpx.HTTPError:
            assert time.monotonic() < deadline, f"nothing answers at {address}"
            time.sleep(0.5)


def _api(here: Here) -> str:
    return f"http://127.0.0.1:{here.places['prefect:4200']}/api"


def _triggered(here: Here, deployment: str, home: Home) -> str:
    found = httpx.get(f"{_api(here)}/deployments/name/{deployment}", trust_env=False, timeout=60).json()
    overrides = [value for value in SCRIPTED if value != "--set"] + ["iterations=1", "evaluation.enabled=false"]
    request = {"preset": "smoke", "home": str(home.root), "run_id": "nights", "overrides": overrides}
    made = httpx.post(
        f"{_api(here)}/deployments/{found['id']}/create_flow_run",
        json={"parameters": {**found["parameters"], "request": request}, "state": {"type": "SCHEDULED"}},
        trust_env=False,
        timeout=60,
    )
    made.raise_for_status()
    return str(made.json()["id"])


def _completed(here: Here, flow_run: str) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while True:
        found: dict[str, Any] = httpx.get(f"{_api(here)}/flow_runs/{flow_run}", trust_env=False, timeout=60).json()
        if found["state_type"] == "COMPLETED":
            return
        logs = "".join(file.read_text(errors="replace")[-3000:] for file in here.folder.glob("worker*.log"))
        assert found["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"), f"{found['state']}\n{logs}"
        assert time.monotonic() < deadline, logs
        time.sleep(1)


def _registered(here: Here, home: Home) -> None:
    """MLflow's server knows the home's models and shows its run."""
    from mlflow import MlflowClient

    client = MlflowClient(here.text("http://mlflow:5000"))
    experiment = client.get_experiment_by_name(f"spar-{home.identity}")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    names = {model.name for model in client.search_registered_models()}
    assert {f"spar-{home.identity}.{role}" for role in ("actor", "refiner")} <= names


def _objects(here: Here) -> list[str]:
    import boto3

    bucket = boto3.client(
        "s3",
        endpoint_url=here.text("http://store:7070"),
        aws_access_key_id="spar",
        aws_secret_access_key=SECRETS["STORE_PASSWORD"],
        region_name="us-east-1",
    )
    return [entry["Key"] for entry in bucket.list_objects_v2(Bucket="mlflow").get("Contents", [])]


def test_the_ports_of_this_machine_take_the_place_of_compose_names(tmp_path: Path) -> None:
    here = Here(tmp_path)
    port = here.places["prefect:4200"]
    assert here.text("http://prefect:4200/api") == f"http://127.0.0.1:{port}/api"
    assert here.text("4200") == str(port)
    assert here.text("postgresql://spar:x@postgres:5432/mlflow") == "postgresql://spar:x@postgres:5432/mlflow"
