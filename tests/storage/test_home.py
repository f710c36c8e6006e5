"""One home belongs to one writing process at a time, and a dead process holds nothing."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from spar_core.errors import StorageError
from storage.home import Home, safe_name

_HOLD = """
import sys, time
from storage.home import Home
with Home(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(home: Home) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(home.root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_the_home_and_a_killed_one_frees_it(tmp_path):
    home = Home(tmp_path / "home")
    process = _holder(home)
    try:
        assert home.lock_holder() == process.pid
        with pytest.raises(StorageError, match=rf"process {process.pid}\)"), home.lock():
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert home.lock_holder() is None
    with home.lock():
        assert home.lock_holder() == os.getpid()
    assert home.lock_holder() is None


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    home = Home(tmp_path)
    with home.lock():
        with pytest.raises(StorageError, match=str(os.getpid())), home.lock():
            pass
        assert home.lock_holder() == os.getpid()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    home = Home(tmp_path)
    alive_read, alive_write = os.pipe()
    stop_read, stop_write = os.pipe()
    with home.lock():
        child = os.fork()
        if child == 0:
            os.close(stop_write)
            os.write(alive_write, b"!")
            os.read(stop_read, 1)  # ends when the parent closes its side
            os._exit(0)
        os.read(alive_read, 1)
    try:
        assert home.lock_holder() is None
    finally:
        for descriptor in (stop_write, stop_read, alive_read, alive_write):
            os.close(descriptor)
        os.waitpid(child, 0)


def test_paths_are_absolute_and_made_only_when_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPAR_HOME", raising=False)
    assert Home.default().artifacts == tmp_path / ".spar" / "artifacts"
    monkeypatch.setenv("SPAR_HOME", "elsewhere")
    assert Home.default().root == tmp_path / "elsewhere"
    assert Home.default().lock_holder() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b"])
def test_names_that_would_leave_the_home_are_refused(name):
    with pytest.raises(StorageError, match="stage"):
        safe_name(name, "stage")


def test_a_home_is_made_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        home = Home(tmp_path / "deep" / "home")
        with home.lock():
            assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_an_older_home_is_closed_to_others_and_that_is_said(tmp_path, caplog):
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.root.chmod(0o755)
    with home.lock():
        assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert "was open to others (mode 755)" in caplog.text
    caplog.clear()
    with home.lock():
        assert not caplog.text
