"""deploy/compose.yaml: valid by compose's specification, and its services really started, one by one in its order."""

from pathlib import Path

import pytest

from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import ROOT
from tests.integration.compose_services import (
    ONE_SHOT,
    SECRETS,
    Here,
    completed,
    document,
    registered,
    running_services,
    services,
    small_request,
    triggered,
)


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
    here = Here(tmp_path)
    with running_services(here, {"worker": {}, "worker-2": {}}) as started:
        runs = {"first": "self_play/self-play", "second": "iteration/iteration"}
        homes = {name: Home(tmp_path / name) for name in runs}
        flow_runs = [triggered(here, runs[name], small_request(home)) for name, home in homes.items()]
        for flow_run in flow_runs:
            completed(here, flow_run)
        assert [process.poll() for process in started.values()] == [None] * len(started)
        for home in homes.values():
            states = [run.state for run in Ledger(home).runs()]
            assert states in (["completed"], ["waiting"]), states
            assert not (home.mlflow / "mlflow.db").exists()
            registered(here, home)
        assert _objects(here), "MLflow's files lie in the store"
    said = "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
    assert "database is locked" not in said
    assert not [secret for secret in SECRETS.values() if secret in said]


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
