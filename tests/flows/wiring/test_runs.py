"""Opening and closing runs inside real flows, on a real Prefect server."""

import logging
import os
import signal
import time
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version

import pytest

from flows.serving.crashes import version_tag
from spar_core.errors import ConfigError
from storage.home import Home, HomeInUseError
from storage.ledger import Ledger
from tests.integration.deployments import messages


@pytest.fixture
def home(tmp_path, prefect_server):
    return Home(tmp_path / "home")


def flow_of(home, body=lambda: None, activity="run", **options):
    """A flow that opens run `r` of the home, tracked by no MLflow, and does `body`."""
    from prefect import flow

    from flows.wiring.runs import RunPlan, opened_run

    @flow(name="probe")
    def probe():
        with opened_run(RunPlan(home, "r", {"lr": 1}, activity, tracked=False, **options)):
            body()

    return probe


def flow_runs(home):
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"home:{home.identity}"]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=tagged)


def test_the_flow_run_is_named_and_tagged_and_has_the_log(home):
    flow_of(home, lambda: logging.getLogger("tasks.probe").info("nothing to train on"))()
    (run,) = flow_runs(home)
    assert run.name == "r"
    assert {"run:r", "version:0.1.0"} <= set(run.tags)
    assert Ledger(home).run("r").activity.flow_run == str(run.id)
    deadline = time.monotonic() + 20
    while "nothing to train on" not in messages(run) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "nothing to train on" in messages(run)


def test_a_failed_flow_fails_its_run_with_the_reason_but_not_a_completed_one(home):
    def fail():
        raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        flow_of(home, fail)()
    run = Ledger(home).run("r")
    assert (run.state, run.activity.detail) == ("failed", "ValueError: disk full")
    flow_of(home, becomes=lambda: "waiting")()
    assert Ledger(home).run("r").state == "waiting"
    flow_of(home)()
    with pytest.raises(ValueError, match="disk full"):
        flow_of(home, fail, "iteration 4")()
    run = Ledger(home).run("r")
    assert (run.state, run.activity.name, run.activity.state) == ("completed", "iteration 4", "failed")


def test_what_is_done_at_the_end_is_done_once_when_the_run_is_closed_and_ended_well(home):
    states = []

    def told():
        states.append(Ledger(home).run("r").state)

    flow_of(home, flow_of(home, ended=told), ended=told)()
    assert states == ["completed"]

    def fail():
        raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        flow_of(home, fail, ended=told)()
    assert states == ["completed"]


def test_a_server_that_is_silent_at_the_end_hides_no_failure(home, monkeypatch):
    import httpx

    def silent(*_arguments, **_options):
        raise httpx.ReadTimeout("too slow")

    def fail():
        raise ValueError("disk full")

    monkeypatch.setattr("flows.wiring.runs.settle", silent)
    with pytest.raises(ValueError, match="disk full"):
        flow_of(home, fail)()
    assert Ledger(home).run("r").state == "failed"
    flow_of(home)()
    assert Ledger(home).run("r").state == "completed"


def test_an_evaluation_of_a_run_that_is_not_there_leaves_nothing(home):
    with pytest.raises(ConfigError, match="there is no run r"):
        flow_of(home, activity="evaluation", aside=True)()
    assert Ledger(home).runs() == []


def test_runs_of_another_home_at_the_same_path_elsewhere_are_left_alone(home):
    from prefect import get_client
    from prefect.states import Cancelling, Running

    flow_of(home)()
    probe = flow_of(home)
    ours, theirs, cancelling = f"home:{home.identity}", "home:0123456789abcdef", f"home:{home.identity}"
    with get_client(sync_client=True) as client:
        runs = [
            client.create_flow_run(probe, tags=[tag], state=state)
            for tag, state in ((ours, Running()), (theirs, Running()), (cancelling, Cancelling()))
        ]
        flow_of(home)()
        states = [client.read_flow_run(run.id).state_name for run in runs]
    assert states == ["Crashed", "Running", "Cancelled"]


def test_a_retry_that_waits_for_its_worker_is_not_taken_for_dead(home):
    from datetime import UTC, datetime
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Pending, Running, Scheduled

    from flows.serving.crashes import _may_yet_start

    def run(state, deployment=None):
        return FlowRun(flow_id=uuid4(), state=state, state_type=state.type, deployment_id=deployment)

    old = Pending()
    old.timestamp = datetime.now(UTC) - timedelta(hours=1)
    night = uuid4()
    assert _may_yet_start(run(Scheduled(), night))
    assert _may_yet_start(run(Pending(), night))
    assert not _may_yet_start(run(old, night))
    assert not _may_yet_start(run(Running(), night))
    assert not _may_yet_start(run(Scheduled()))


def test_a_held_home_is_an_error_where_no_deployment_asked(home):
    pid = os.fork()
    if pid == 0:
        with Home(home.root).lock():
            (home.root / "held").touch()
            time.sleep(60)
        os._exit(0)
    try:
        while not (home.root / "held").exists():
            time.sleep(0.05)
        with pytest.raises(HomeInUseError, match=f"process {pid}") as raised:
            flow_of(home)()
        assert raised.value.pid == pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.slow
def test_a_schedule_until_complete_does_nothing_once_all_iterations_are_there(home, monkeypatch):
    from flows import self_play
    from flows.self_play import iteration
    from flows.wiring.request import RunRequest
    from storage.entries import ModelEntry

    request = RunRequest(preset="smoke", home=str(home.root), run_id="r", iterations=1)
    ledger = Ledger(home)
    for number in (0, 1):
        for role in ("actor", "refiner"):
            (home.root / f"m{number}").mkdir(parents=True, exist_ok=True)
            entry = {"run_id": "r", "role": role, "name": role, "version": number + 1, "uri": f"m{number}"}
            ledger.record_model(ModelEntry(iteration=number, digest=f"{role}{number}", **entry))
    made_again = []
    monkeypatch.setattr(self_play, "warm_start", lambda asked: made_again.append(asked))
    monkeypatch.setattr(self_play, "decide_late", lambda *_: None)
    models = iteration(request, until_complete=True)
    assert (models.actor.digest, models.refiner.digest) == ("actor1", "refiner1")
    run = ledger.run("r")
    assert (run.state, run.activity.state) == ("completed", "completed")
    assert ledger.stages("r") == []
    assert made_again == []
    (home.root / "m0").rmdir()  # `spar gc` took it: measurements need the first models, and so do further nights
    iteration(request, until_complete=True)
    assert [asked.run_id for asked in made_again] == ["r"]


def test_the_port_of_a_server_that_the_run_before_left_open_is_free_when_the_next_is_checked(tmp_path, monkeypatch):
    """Two runs of an experiment in one process, with `engine.port` set."""
    from types import SimpleNamespace

    from flows import self_play
    from flows.wiring.request import RunRequest
    from tasks.runtime import Runtime

    run, taken = RunRequest(preset="smoke", home=str(tmp_path)).resolve(), [8000]
    pool = Runtime.of(str(tmp_path)).engines
    monkeypatch.setattr(pool, "_open", [SimpleNamespace(engine="vLLM of the run before")])
    monkeypatch.setattr("tasks.engines._close", lambda _engine: taken.clear())
    found = []
    monkeypatch.setattr(self_play, "preflight_run", lambda _run: found.append(list(taken)))
    self_play._check(run)
    assert found == [[]]


def test_a_run_from_a_folder_that_is_not_installed_has_a_version(monkeypatch):
    def gone(_name):
        raise PackageNotFoundError("spar")

    assert version_tag() == f"version:{version('spar')}"
    monkeypatch.setattr("spar_core.own_version.version", gone)
    assert version_tag() == "version:source"
