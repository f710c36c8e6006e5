"""A starter run in an object store, by two workers on two machines, with Prefect and MLflow on PostgreSQL."""

import pytest

from spar_core.training.process_group import stop_group
from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.ledger import Ledger
from storage.remote import WORK_VARIABLE
from tests.integration.command_line import spar
from tests.integration.compose_services import Here, completed, registered, running_services, small_request, triggered
from tests.storage.object_server import make_bucket, variables

SIZES = (
    "prompts.per_iteration=200",
    "warm_start.actor_examples=400",
    "warm_start.refiner_examples=400",
    "evaluation.prompts=24",
    "evaluation.samples=1",
    "evaluation.refiner_items=12",
    "evaluation.calibration_items=12",
    "orchestration.shard_size=50",
)


def digests(home: Home) -> dict[tuple[str, str], str]:
    """Content by stage and key, of every artifact."""
    found = ArtifactStore(home).scan()
    assert not found.damaged
    return {(whole.ref.stage, whole.ref.stage_key): whole.ref.content_digest for whole in found.whole}


def worker_of(here: Here, flow_run: str) -> str:
    """The worker that took a flow run, by what it logged."""
    (found,) = [file.stem for file in here.folder.glob("worker-*.log") if flow_run in file.read_text(errors="replace")]
    return found


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_two_workers_carry_a_starter_run_in_a_store_to_the_artifacts_of_a_disk(tmp_path, monkeypatch):
    here = Here(tmp_path)
    address = here.text("http://store:7070")
    machines = {name: {**variables(address), WORK_VARIABLE: str(tmp_path / name)} for name in ("worker-1", "worker-2")}
    request = {"preset": "starter", "run_id": "nights", "iterations": 2, "overrides": list(SIZES)}
    with running_services(here, machines) as started:
        make_bucket(address, "homes")
        own, beside = "s3://homes/starter", "s3://homes/beside"
        first = triggered(here, "iteration/iteration", {**request, "home": own}, start_from=None)
        other = triggered(here, "self_play/self-play", small_request(beside))
        completed(here, other, 2400)
        completed(here, first, 2400)
        taken = worker_of(here, first)
        assert worker_of(here, other) != taken, "both work at once"

        # The machine of the first night is gone.
        stop_group(started[taken])
        second = triggered(here, "iteration/iteration", {**request, "home": own}, start_from=None)
        completed(here, second, 2400)
        assert worker_of(here, second) != taken

        for name, value in {**variables(address), WORK_VARIABLE: str(tmp_path / "reader")}.items():
            monkeypatch.setenv(name, value)
        reader, neighbour = Home(own), Home(beside)
        for home in (reader, neighbour):
            home.check_layout()
            assert [run.state for run in Ledger(home).runs()] == ["completed"]
            registered(here, home)
        found = digests(reader)
    said = "".join(file.read_text(errors="replace") for file in tmp_path.glob("*.log"))
    assert "database is locked" not in said

    options = [part for size in SIZES for part in ("--set", size)]
    on_disk = spar(
        "run", "--preset", "starter", "--iterations", "2", *options, "--home", tmp_path / "disk", timeout=2400
    )
    assert on_disk.returncode == 0, on_disk.stderr
    assert [stage for stage, _ in sorted(found) if stage.startswith("train_")] == ["train_actor"] * 2 + [
        "train_refiner"
    ] * 2
    assert found == digests(Home(tmp_path / "disk"))
