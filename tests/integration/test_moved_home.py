"""A home of a real run is moved, or copied: it works where it lies, and the original is neither read nor written."""

import json
import shutil
from pathlib import Path

import pytest

from storage.home import Home
from storage.ledger import Ledger
from storage.registry import Registry
from tests.integration.command_line import spar
from tests.integration.conftest import SmokeRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def _files(root: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _works(home: Home, run_id: str) -> None:
    """Everything a user does with a home; the run gets another iteration, trained from the models of this home."""
    where = ("--home", home.root)
    for command in (("status", run_id), ("sql", "SELECT count(*) FROM votes"), ("gc",)):
        process = spar(*command, *where)
        assert process.returncode == 0, process.stderr[-4000:]
    resumed = spar("run", "--preset", "smoke", "--iterations", "2", "--json", *where, timeout=600)
    assert resumed.returncode == 0, resumed.stderr[-4000:]
    assert [row["iteration"] for row in json.loads(resumed.stdout)["iterations"]] == [0, 1, 2]
    assert json.loads(resumed.stdout)["run_id"] == run_id
    first = [stage for stage in Ledger(home).stages(run_id) if stage.iteration in (0, 1)]
    assert all(stage.cached for stage in first), "what was done before the move is not done again"
    measured = spar("eval", "starter", "--model", "actor@candidate", "--limit", "6", "--json", *where)
    assert measured.returncode == 0, measured.stderr[-4000:]
    assert Registry(home).resolve("actor/1").path.is_relative_to(home.root)


def test_a_copy_and_then_the_moved_original_go_on_by_themselves(smoke_run: SmokeRun, tmp_path: Path) -> None:
    original = Home(tmp_path / "original")
    shutil.copytree(smoke_run.home.root, original.root, symlinks=True)
    with original.lock():
        identity = original.identity
    before = _files(original.root)
    copy = Home(shutil.copytree(original.root, tmp_path / "seed=7" / "copy"))
    _works(copy, smoke_run.run_id)
    assert _files(original.root) == before
    assert copy.identity != identity

    moved = Home(tmp_path / "moved")
    original.root.rename(moved.root)
    shutil.rmtree(copy.root)
    _works(moved, smoke_run.run_id)
    assert not original.root.exists()
    assert moved.identity == identity
