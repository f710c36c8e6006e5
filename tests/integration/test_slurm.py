"""`spar launch slurm` on a real Slurm of two machines: submitted, trained on both, queued again, gone on with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import spar
from tests.integration.slurm_cluster import asked, await_that, ended, missing, running_cluster, state

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(missing()), reason=f"not on this machine: {', '.join(missing())}"),
]
CHECKOUT = Path(__file__).parents[2]
SERVER = """#!/bin/bash
# In place of a Python with vLLM: `-m vllm.entrypoints.openai.api_server --model M ... --port P ...`
exec python -m tests.integration.healthy_server "$@"
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running_cluster(tmp_path_factory.mktemp("slurm")):
        yield


def launched(home: Path, *settings: str) -> str:
    """Submits a run with the working tree as working folder; the number of its job."""
    settings = (*settings, "deployment.run.cpus=1", f"deployment.environment.PYTHONPATH={CHECKOUT}")
    options = [part for setting in settings for part in ("--set", setting)]
    ended = spar("launch", "slurm", "--preset", "smoke", "--home", home, "--run-id", "nights", *options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()[-1]


def logs(home: Path) -> str:
    return "\n".join(file.read_text() for file in sorted((home / "launch").rglob("*.log")))


def manifests(home: Path) -> dict[str, int]:
    """When each artifact was finished."""
    return {str(file.relative_to(home)): file.stat().st_mtime_ns for file in home.glob("artifacts/*/*/manifest.json")}


def test_a_run_over_two_machines_is_queued_again_and_goes_on(tmp_path):
    home = tmp_path / "home"
    job = launched(home, "deployment.run.nodes=2", "training.launch.threads=1", "training.actor.micro_batch_size=2")
    await_that(lambda: len(manifests(home)) >= 2, 300)
    asked("scontrol", "requeue", job)
    await_that(lambda: state(job) == "PENDING")
    before = manifests(home)
    asked("scontrol", "update", f"JobId={job}", "StartTime=now")
    assert ended(job, 900) == "COMPLETED", logs(home)
    assert before.items() <= manifests(home).items(), "nothing that was finished is made again"
    assert Ledger(Home(home)).run("nights").state == "completed"
    assert "machine 1: train_actor ended here" in logs(home)
    assert "Restarts=1" in asked("scontrol", "show", "job", job)


def test_the_run_finds_its_server_and_ends_it(tmp_path):
    """Glue alone: what is started in place of vLLM answers /health, what is started in place of `spar` reads where."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"python-with-vllm": SERVER, "spar": '#!/bin/bash\ncat "$(dirname "$3")/judge.yaml"\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    takes = "serves: [method.judging.second_voter], gpus: 0, cpus: 1"
    server = f"{{name: judge, model: /m, {takes}, python: {programs}/python-with-vllm}}"
    path = f"export PATH={programs}:{os.environ['PATH']}"
    home = tmp_path / "home"
    job = launched(home, f"deployment.servers=[{server}]", f"deployment.slurm.setup=['{path}']")
    assert ended(job, 120) == "COMPLETED", logs(home)
    assert ":8000/v1\nmodel: /m\n" in logs(home)
    await_that(lambda: asked("squeue", "--noheader") == "")
    assert not list(home.rglob("judge.yaml"))
