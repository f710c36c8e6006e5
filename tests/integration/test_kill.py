"""Kill -9 in the middle of a search, then the same command again: the same result, and no question asked twice."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spar_core.hashing import model_digest
from spar_core.starter import base_model_dir
from storage.artifacts import ArtifactStore
from storage.home import Home
from storage.ledger import Ledger
from tests.integration.command_line import SCRIPTED, spar, started
from tests.integration.deployments import set_state
from tests.integration.journals import journaled_keys

IN_FLIGHT = 4
PROMPTS = 12


@pytest.fixture(scope="module")
def prompts(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    file.write_text("".join(f'{{"prompt": "Name {number} birds."}}\n' for number in range(PROMPTS)), encoding="utf-8")
    return file


@pytest.fixture
def search(prompts: Path, prefect_server: str, tmp_path: Path) -> "Search":
    return Search(prompts, prefect_server, tmp_path)


class Search:
    """One `spar search` command on one home; `asked` is what the model was asked, in order: (kind, key)."""

    def __init__(self, prompts: Path, server: str, folder: Path, name: str = "killed") -> None:
        self.home = Home(folder / name)
        self.log = folder / f"{name}.log"
        self.command = ("search", "--json", "--prompts", prompts, "--out", folder / f"{name}-out")
        self.command += ("--actor", "starter", "--refiner", "starter", "--home", self.home.root, *SCRIPTED)
        for key, value in {"shard_size": 5, "requests_in_flight": IN_FLIGHT, "trees_in_flight": 3}.items():
            self.command += ("--set", f"orchestration.{key}={value}")
        self.variables = {
            "PREFECT_API_URL": server,
            "SCRIPT_LOG": str(self.log),
            "SCRIPT_MODEL": model_digest(base_model_dir()),
        }

    def completed(self) -> dict[str, str]:
        """Run to the end; the content of every artifact, by stage."""
        done = spar(*self.command, **self.variables)
        assert done.returncode == 0, done.stderr
        whole, damaged = ArtifactStore(self.home).scan(verify=True)
        assert not damaged
        return {entry.ref.stage: entry.ref.content_digest for entry in whole}

    def killed_when(self, reached: Callable[[list[tuple[str, str]]], bool]) -> None:
        """Start, wait until the questions asked satisfy `reached`, kill -9."""
        latency = ("--set", "engine.latency_s=0.02")
        process = started(*self.command, *latency, **self.variables)
        try:
            while not reached(self.asked):
                assert process.poll() is None, "it ended before it could be killed"
                time.sleep(0.01)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()

    @property
    def asked(self) -> list[tuple[str, str]]:
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [(kind, key) for kind, key in (line.split() for line in lines)]

    @property
    def journaled(self) -> set[str]:
        """Keys of the answers in the journals of the home."""
        return journaled_keys(self.home.journal)


def asked_at_least(kind: str, count: int) -> Callable[[list[tuple[str, str]]], bool]:
    return lambda asked: sum(1 for name, _ in asked if name == kind) >= count


def test_killed_twice_it_ends_as_if_nothing_had_happened(search, prompts, prefect_server, tmp_path):
    calm = Search(prompts, prefect_server, tmp_path, "calm")
    expected = calm.completed()
    assert set(expected) == {"search_prompts", "search_responses", "judgements", "negatives", "trees"}
    assert len(calm.asked) == len(set(calm.asked))

    search.killed_when(asked_at_least("judge", 20))
    first, kept = search.asked, search.journaled
    assert kept
    assert search.home.lock_holder() is None  # the system frees the lock of a dead process
    search.log.unlink()

    search.killed_when(asked_at_least("refine", 10))
    second = search.asked
    assert kept.isdisjoint(key for _, key in second)
    kept |= search.journaled
    search.log.unlink()

    assert search.completed() == expected
    third = search.asked
    assert kept.isdisjoint(key for _, key in third)
    # Nothing is lost but what was in flight: two shards at once, each with so many requests.
    assert len(first) + len(second) + len(third) <= len(calm.asked) + 2 * 4 * IN_FLIGHT
    assert {*first, *second, *third} == set(calm.asked)


def test_the_dead_run_is_marked_crashed(search, prefect_server):
    from prefect.client.schemas.objects import StateType

    search.killed_when(asked_at_least("refine", 3))
    (dead,) = flow_runs(search.home)
    assert dead.state_type == StateType.RUNNING  # nobody could tell

    search.completed()

    states = {run.id: run.state_type for run in flow_runs(search.home)}
    assert states.pop(dead.id) == StateType.CRASHED
    assert list(states.values()) == [StateType.COMPLETED]
    ended = {StateType.COMPLETED, StateType.CRASHED}
    deadline = time.monotonic() + 20  # the server enters the states of tasks from events, a moment later
    while not {run.state_type for run in task_runs(search.home)} <= ended and time.monotonic() < deadline:
        time.sleep(0.2)
    assert {run.state_type for run in task_runs(search.home)} <= ended


def test_a_second_run_on_a_held_home_names_the_holder_and_touches_nothing(search):
    process = started(*search.command, "--set", "engine.latency_s=0.05", **search.variables)
    try:
        while not search.asked:
            assert process.poll() is None
            time.sleep(0.01)
        second = spar("run", "--preset", "smoke", "--home", search.home.root, **search.variables)
    finally:
        out, err = process.communicate()

    assert second.returncode == 1
    assert f"process {process.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert [run.run_id for run in ledger_runs(search.home)] == [json_run_id(out)]


def test_interrupted_it_says_so_and_resumes(search, prompts, prefect_server, tmp_path):
    process = started(*search.command, "--set", "engine.latency_s=0.05", **search.variables)
    while not asked_at_least("judge", 5)(search.asked):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "interrupted; run the same command again to resume" in err
    assert "Traceback" not in err
    (run,) = ledger_runs(search.home)
    assert run.state == "interrupted"
    assert [run.state_name for run in flow_runs(search.home)] == ["Cancelled"]
    kept = search.journaled
    search.log.unlink()
    search.completed()
    assert kept.isdisjoint(key for _, key in search.asked)


def test_cancelled_in_prefect_it_ends_as_with_ctrl_c(search):
    from prefect.states import Cancelling

    process = started(*search.command, "--set", "engine.latency_s=0.2", **search.variables)
    while not asked_at_least("judge", 5)(search.asked):
        assert process.poll() is None
        time.sleep(0.01)
    (going,) = flow_runs(search.home)
    set_state(going, Cancelling())
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "was cancelled in Prefect" in err
    assert "Traceback" not in err
    assert [run.state_name for run in flow_runs(search.home)] == ["Cancelled"]
    assert [run.state for run in ledger_runs(search.home)] == ["interrupted"]
    ended = {"Completed", "Cached", "Failed", "Cancelled", "Crashed"}
    assert {run.state_name for run in task_runs(search.home)} <= ended


def flow_runs(home: Home):
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"home:{home.identity}"]))
        )


def task_runs(home: Home):
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    with get_client(sync_client=True) as client:
        return client.read_task_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"home:{home.identity}"]))
        )


def ledger_runs(home: Home):
    return Ledger(home).runs()


def json_run_id(out: str) -> str:
    import json

    return str(json.loads(out)["run_id"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_a_training_it_ends_with_the_same_weights(tmp_path, prefect_server):
    """Preference pairs of the scripted model, a real DPO training of the starter."""
    settings = {
        "warm_start.source": "none",
        "evaluation.enabled": "false",
        "train_refiner": "false",
        "method.refiner_data.replay_fraction": "0",
        "prompts.per_iteration": "40",
        "training.actor.max_steps": "8",
        "training.actor.epochs": "8",
        "training.actor.batch_size": "4",
        "training.actor.micro_batch_size": "4",
        "training.actor.checkpoint_steps": "1",
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = ("run", "--preset", "smoke", "--json", *SCRIPTED, *options, "--home")

    def trained(home: Home) -> str:
        ended = spar(*command, home.root, PREFECT_API_URL=prefect_server)
        assert ended.returncode == 0, ended.stderr
        models = [entry for entry in Ledger(home).models() if (entry.role, entry.iteration) == ("actor", 1)]
        assert models[0].digest != models[0].parent_digest
        return models[0].digest

    expected = trained(Home(tmp_path / "calm"))

    home = Home(tmp_path / "killed")
    process = started(*command, home.root, PREFECT_API_URL=prefect_server)
    while not list(home.work.rglob("checkpoint-3")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    process.communicate()

    assert trained(home) == expected
    resumed = mlflow_metrics(home, "train_actor")["resumed_from_step"]
    assert resumed >= 3


def mlflow_metrics(home: Home, stage: str) -> dict[str, float]:
    from mlflow import MlflowClient

    from storage.mlflow_store import tracking_uri

    client = MlflowClient(tracking_uri=tracking_uri(home))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (found,) = client.search_runs(experiments, f"tags.`spar.stage` = '{stage}'")
    return dict(found.data.metrics)
