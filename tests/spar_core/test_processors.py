import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spar_core import processors
from spar_core.processors import busy_elsewhere, cpu_flags, free_cores, unused

SPIN = "while True: pass"


@pytest.mark.parametrize(
    ("cores", "busy", "left"), [(2, 0.0, 2), (2, 0.4, 2), (2, 0.6, 1), (2, 2.0, 1), (8, 2.9, 5), (1, 1.0, 1)]
)
def test_cores_beside_neighbours(cores: int, busy: float, left: int) -> None:
    assert unused(cores, busy) == left


def test_a_users_number_of_threads_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "busy_elsewhere", lambda: 1.0)
    monkeypatch.setattr(processors, "usable_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert free_cores() == 7
    for unset in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", unset)
        assert free_cores() == 3


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc")
def test_what_this_process_and_its_children_compute_is_no_neighbours() -> None:
    """The measurement itself: 0.25 s in which this process does nothing else than compute."""

    def compute(seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    quiet = busy_elsewhere()
    child = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        time.sleep(0.2)
        with_child_and_self = busy_elsewhere(sleep=compute)
    finally:
        child.kill()
        child.wait()
    cores = len(os.sched_getaffinity(0))
    # Whatever else runs on this machine at the moment: our own load adds nothing to it, up to the noise of a sample.
    assert with_child_and_self <= max(quiet, cores - 1.0) + 0.5


def test_cpu_flags_are_read_on_x86_and_arm(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t\t: none\n")
    assert cpu_flags(file) == {"fpu", "avx2", "avx512_bf16"}
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert "bf16" in cpu_flags(file)
    assert cpu_flags(tmp_path / "none") == set()
