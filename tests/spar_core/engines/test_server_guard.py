"""A server ends with its owner, whatever ends that; and what is left over is found by its record."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stand_in_server import stand_in

from spar_core.engines.server_guard import end_orphans, end_recorded, read_record
from spar_core.ports import port_is_free
from spar_core.processes import end_processes, mark_runs, pid_of, process_mark, session_marks

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
OWNER = """
import sys, time
from pathlib import Path
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.vllm_server import VllmServer
python, folder, mode = sys.argv[1:]
config = VllmEngineConfig(python=python, env={"STAND_IN_MODE": mode}, start_timeout_s=20)
server = VllmServer(config, "m", Opening(logs=Path(folder), records=Path(folder)))
print(server.port, flush=True)
time.sleep(60)
"""


class Owned:
    """A process that owns a stand-in server."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder / "servers"
        command = [sys.executable, "-c", OWNER, stand_in(folder), str(self.folder), mode]
        self.owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.owner.stdout is not None
        self.port = int(self.owner.stdout.readline())
        self.file = self.folder / f"vllm-{self.port}.json"

    @property
    def record(self) -> dict[str, object]:
        found = read_record(self.file)
        assert found is not None
        return found

    def end(self) -> None:
        self.owner.kill()
        self.owner.wait()
        end_recorded(self.file)


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Callable[[str], Owned]]:
    made: list[Owned] = []

    def make(mode: str) -> Owned:
        made.append(Owned(tmp_path, mode))
        return made[-1]

    yield make
    for one in made:
        one.end()


def wait_until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("mode", ["worker", "stubborn"])
def test_sigkill_of_the_owner_ends_the_server_and_its_workers(owned: Callable[[str], Owned], mode: str) -> None:
    server = owned(mode)
    wait_until(lambda: len(server.record["processes"]) == 2)  # type: ignore[arg-type]
    processes = server.record["processes"]
    server.owner.send_signal(signal.SIGKILL)
    # Not collected yet: a killed process that nobody has waited for is gone all the same.
    wait_until(lambda: not any(mark_runs(mark) for mark in processes))  # type: ignore[attr-defined]
    wait_until(lambda: port_is_free(server.port) and not server.file.exists())


def test_a_record_that_cannot_be_written_is_no_reason_to_leave_a_server_behind(owned: Callable[[str], Owned]) -> None:
    server = owned("worker")
    wait_until(lambda: len(server.record["processes"]) == 2)  # type: ignore[arg-type]
    processes = server.record["processes"]
    shutil.rmtree(server.folder)
    server.owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(mark_runs(mark) for mark in processes))  # type: ignore[attr-defined]
    wait_until(lambda: port_is_free(server.port))


def test_an_orphan_whose_guard_was_killed_too_is_found_by_its_record(owned: Callable[[str], Owned]) -> None:
    server = owned("worker")
    wait_until(lambda: len(server.record["processes"]) == 2)  # type: ignore[arg-type]
    processes, guard = server.record["processes"], str(server.record["guard"])
    assert end_orphans(server.folder) == []  # its owner lives: it is no orphan
    os.kill(pid_of(guard), signal.SIGKILL)
    server.owner.kill()
    server.owner.wait()
    time.sleep(0.5)
    assert not port_is_free(server.port)  # nobody was left to end it
    assert end_orphans(server.folder) == [f"vllm-{server.port}"]
    assert not any(mark_runs(mark) for mark in processes)  # type: ignore[attr-defined]
    assert port_is_free(server.port)
    assert end_orphans(server.folder) == []


def test_a_pid_that_belongs_to_another_process_by_now_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        earlier = f"{other.pid}:{int(process_mark(other.pid).partition(':')[2]) - 1}"  # another life of the same pid
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        record = {"owner": earlier, "guard": earlier, "server": other.pid, "processes": [earlier]}
        (tmp_path / "vllm-1.json").write_text(json.dumps({**record, "boot": boot}))
        real = {**record, "processes": [process_mark(other.pid)]}
        (tmp_path / "vllm-2.json").write_text(json.dumps({**real, "boot": "another life of the machine"}))
        (tmp_path / "vllm-3.json").write_text('{"half')
        assert end_orphans(tmp_path) == []
        assert other.poll() is None
        assert list(tmp_path.iterdir()) == []
    finally:
        other.kill()
        other.wait()


def test_a_guard_that_is_killed_is_noticed_and_its_server_ended(owned: Callable[[str], Owned]) -> None:
    server = owned("")
    processes = server.record["processes"]
    os.kill(pid_of(str(server.record["guard"])), signal.SIGKILL)
    assert end_recorded(server.file)
    assert not any(mark_runs(mark) for mark in processes)  # type: ignore[attr-defined]


def test_a_process_mark_names_one_life_of_a_pid() -> None:
    mine = process_mark(os.getpid())
    assert mine.startswith(f"{os.getpid()}:")
    assert mine == process_mark(os.getpid()) != process_mark(os.getppid())
    assert process_mark(2**22 + 1) == f"{2**22 + 1}:"
    assert mark_runs(mine)
    assert not mark_runs(f"{2**22 + 1}:")
    assert not mark_runs(f"{os.getpid()}:1")


def test_a_process_nobody_has_collected_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    mark = process_mark(child.pid)
    assert session_marks(child.pid) == [mark]
    assert end_processes([mark], 0.0)
    assert Path(f"/proc/{child.pid}").exists()
    assert not mark_runs(mark)
    assert session_marks(child.pid) == []
    child.wait()
