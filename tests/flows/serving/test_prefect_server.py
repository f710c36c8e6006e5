"""Who starts, shares and stops the Prefect server of a home; the server itself is a process that sleeps."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from unittest import mock

import pytest

from flows.serving import prefect_server
from flows.serving.prefect_server import join_server, leave_server
from spar_core.errors import SparError
from spar_core.processes import process_mark
from storage.home import Home


def sleeper():
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


@pytest.fixture
def processes(monkeypatch):
    """Every server that was started, oldest first."""
    started = []

    def start(home, port):
        started.append(sleeper())
        url = f"http://127.0.0.1:{port}/api"
        return prefect_server._Record(api_url=url, server=process_mark(started[-1].pid), home=home.identity, users=())

    monkeypatch.setattr(prefect_server, "_started", start)
    monkeypatch.setattr(prefect_server, "is_healthy", lambda _url: True)
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def other():
    """Another process that uses the server."""
    process = sleeper()
    yield process
    process.kill()
    process.wait()


def state(home):
    return json.loads((home.prefect / "server.json").read_text())


def enter_user(home, mark):
    entry = state(home)
    (home.prefect / "server.json").write_text(json.dumps(entry | {"users": [*entry["users"], mark]}))


def test_it_is_started_once_and_stopped_by_the_last_who_leaves(processes, tmp_path):
    home = Home(tmp_path)
    assert join_server(home) == join_server(home)
    leave_server(home)
    assert processes[0].poll() is None
    leave_server(home)
    assert [process.poll() is None for process in processes] == [False]
    assert not (home.prefect / "server.json").exists()


def test_one_that_dies_under_a_run_is_started_again_for_all_who_use_it(processes, other, tmp_path, monkeypatch):
    monkeypatch.setattr(prefect_server, "WATCH_S", 0.01)
    home = Home(tmp_path)
    address = join_server(home)
    enter_user(home, process_mark(other.pid))
    before = state(home)
    with prefect_server.kept_alive(home, address):
        processes[0].kill()
        deadline = time.monotonic() + 20
        while len(processes) < 2 or state(home)["server"] == before["server"]:
            assert time.monotonic() < deadline, "nobody started it again"
            time.sleep(0.01)
        time.sleep(0.1)  # ten more looks at a server that lives
    assert len(processes) == 2
    assert state(home) == before | {"server": process_mark(processes[1].pid)}


def test_one_that_cannot_be_started_again_is_given_up(processes, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(prefect_server, "WATCH_S", 0.01)
    home = Home(tmp_path)
    address = join_server(home)
    monkeypatch.setattr(prefect_server, "_started", mock.Mock(side_effect=SparError("the port is taken")))
    with prefect_server.kept_alive(home, address):
        processes[0].kill()
        deadline = time.monotonic() + 20
        while prefect_server._started.call_count < prefect_server.REVIVALS:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
    assert prefect_server._started.call_count == prefect_server.REVIVALS
    assert "the port is taken" in caplog.text


def test_a_server_that_another_process_uses_is_left_to_it(processes, other, tmp_path):
    home = Home(tmp_path)
    join_server(home)
    enter_user(home, process_mark(other.pid))
    leave_server(home)
    assert processes[0].poll() is None
    assert state(home)["users"] == [process_mark(other.pid)]
    other.kill()
    other.wait()
    join_server(home)  # finds it, with nobody left but this process
    leave_server(home)
    assert processes[0].poll() is not None
    assert len(processes) == 1


def test_a_user_whose_pid_somebody_else_has_by_now_counts_for_nothing(processes, other, tmp_path):
    home = Home(tmp_path)
    join_server(home)
    enter_user(home, f"{other.pid}:1")
    leave_server(home)
    assert processes[0].poll() is not None


def test_a_copied_home_never_touches_the_server_of_the_original(processes, tmp_path):
    home = Home(tmp_path / "home")
    join_server(home)
    shutil.copytree(home.root, tmp_path / "copy")
    copy = Home(tmp_path / "copy")
    join_server(copy)
    assert len(processes) == 2
    leave_server(copy)
    assert processes[1].poll() is not None
    assert processes[0].poll() is None
    leave_server(home)


def test_a_stranger_behind_the_servers_pid_is_not_stopped(processes, other, tmp_path):
    home = Home(tmp_path)
    join_server(home)
    processes[0].kill()
    processes[0].wait()
    entry = state(home) | {"server": f"{other.pid}:1", "users": []}
    (home.prefect / "server.json").write_text(json.dumps(entry))
    leave_server(home)
    assert other.poll() is None
    join_server(home)
    assert len(processes) == 2


def test_the_ports_stay_the_same(processes, tmp_path):
    home = Home(tmp_path)
    first = join_server(home)
    leave_server(home)
    assert join_server(home) == first
    leave_server(home)


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({}, {"NO_PROXY": "127.0.0.1,localhost"}),
        ({"no_proxy": "intern.example, localhost"}, {"no_proxy": "intern.example,localhost,127.0.0.1"}),
        ({"NO_PROXY": "*"}, {"NO_PROXY": "*"}),
    ],
)
def test_a_server_on_this_machine_is_reached_without_the_proxy_of_the_environment(given, becomes, tmp_path):
    with mock.patch.dict(os.environ):  # all is put back
        for name in ("no_proxy", "NO_PROXY"):
            os.environ.pop(name, None)
        os.environ.update({**given, "HTTP_PROXY": "http://127.0.0.1:9"})
        prefect_server.prepare_environment(Home(tmp_path))
        assert {name: os.environ[name] for name in ("no_proxy", "NO_PROXY") if name in os.environ} == becomes
        assert urllib.request.proxy_bypass_environment("127.0.0.1:4200")


def test_one_that_does_not_start_says_why(tmp_path, monkeypatch):
    """Whoever reads the message need not go and look for a log."""
    folder = tmp_path / "packages" / "prefect"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text("raise ImportError('the greenlet library is required')")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    with pytest.raises(SparError, match=r"(?s)did not start on port.*Its log.*the greenlet library is required"):
        join_server(Home(tmp_path / "home"))
