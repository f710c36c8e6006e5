from pathlib import Path

import psutil
import pytest

from spar_core.processors import cpu_flags, free_memory, wanted_threads, whole_memory


@pytest.mark.parametrize(("told", "wanted"), [("7", 7), ("", None), ("0", None), ("many", None)])
def test_a_users_number_of_threads(told: str, wanted: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert wanted_threads() == wanted


def test_free_memory_is_what_the_container_leaves(tmp_path: Path) -> None:
    assert free_memory(tmp_path) <= whole_memory(tmp_path) == psutil.virtual_memory().total
    version_1 = tmp_path / "memory"
    version_1.mkdir()
    (version_1 / "memory.limit_in_bytes").write_text("9000\n")
    (version_1 / "memory.usage_in_bytes").write_text("2000\n")
    assert free_memory(tmp_path) == 7000
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) == 7000
    (tmp_path / "memory.max").write_text("5000\n")
    assert (free_memory(tmp_path), whole_memory(tmp_path)) == (1000, 5000)
    (tmp_path / "memory.max").write_text("3000\n")
    assert free_memory(tmp_path) == 0


def test_cpu_flags_are_read_on_x86_and_arm(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\nbugs\t\t: none\n")
    assert cpu_flags(file) == {"fpu", "avx2", "avx512_bf16"}
    file.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert "bf16" in cpu_flags(file)
    assert cpu_flags(tmp_path / "none") == set()
