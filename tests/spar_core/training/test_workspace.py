import json
import os
from pathlib import Path

import pytest

from spar_core.errors import TrainingError
from spar_core.training.progress import MetricsTail, append_metrics
from spar_core.training.workspace import Workspace


def with_checkpoints(folder: Path, *steps: int) -> Workspace:
    workspace = Workspace(folder)
    folder.mkdir(exist_ok=True)
    for step in steps:
        (workspace.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
    return workspace


def test_newest_whole_checkpoint_is_by_number_not_by_name(tmp_path: Path) -> None:
    workspace = with_checkpoints(tmp_path, 90, 100, 110)
    assert workspace.latest_checkpoint() is None
    workspace.mark_complete(90)
    workspace.mark_complete(100)
    assert workspace.latest_checkpoint() == workspace.checkpoints / "checkpoint-100"


@pytest.mark.parametrize("damage", ["cut", "emptied", "overwritten", "removed", "seal cut"])
def test_a_damaged_checkpoint_is_none(tmp_path: Path, damage: str) -> None:
    workspace = with_checkpoints(tmp_path, 90, 100)
    for step in (90, 100):
        folder = workspace.checkpoints / f"checkpoint-{step}" / "shards"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(bytes(range(256)) * 1000)
        workspace.mark_complete(step)
    assert workspace.latest_checkpoint() == workspace.checkpoints / "checkpoint-100"
    file = workspace.checkpoints / "checkpoint-100" / "shards" / "optimizer.pt"
    if damage == "removed":
        file.unlink()
    elif damage == "overwritten":
        with file.open("r+b") as handle:
            handle.write(b"garbage")
    elif damage == "seal cut":
        seal = workspace.checkpoints / "checkpoint-100" / "complete"
        seal.write_bytes(seal.read_bytes()[:10])
    else:
        os.truncate(file, 0 if damage == "emptied" else 1000)
    assert workspace.latest_checkpoint() == workspace.checkpoints / "checkpoint-90"


def test_checkpoints_of_another_training_are_cleared(tmp_path: Path) -> None:
    workspace = with_checkpoints(tmp_path / "w")
    workspace.claim("a")
    with_checkpoints(tmp_path / "w", 5).mark_complete(5)
    workspace.new_model.mkdir()
    workspace.record_failure("gone wrong")
    assert workspace.failure() == "gone wrong"
    workspace.claim("a")
    assert workspace.latest_checkpoint() is not None
    assert (workspace.failure(), workspace.new_model.exists()) == (None, False)
    workspace.claim("b")
    assert workspace.latest_checkpoint() is None


def test_one_training_at_a_time(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    refused = pytest.raises(TrainingError, match="Another training is running")
    with workspace.owned(0.0), refused, workspace.owned(0.0):
        pass
    with workspace.owned(0.0):
        pass


def test_tail_passes_whole_lines_once(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    append_metrics(file, 1, {"loss": 9.0})
    tail = MetricsTail(file)
    seen: list[tuple[int, dict[str, float]]] = []
    append_metrics(file, 2, {"loss": 0.5, "grad_norm": float("nan")})
    whole = json.dumps({"step": 3, "metrics": {"loss": 0.25}}) + "\n"
    with file.open("a") as handle:
        handle.write(whole[:10])
    tail.pass_on(lambda step, metrics: seen.append((step, metrics)))
    assert seen == [(2, {"loss": 0.5})]
    with file.open("a") as handle:
        handle.write(whole[10:])
    tail.pass_on(lambda step, metrics: seen.append((step, metrics)))
    assert seen[1:] == [(3, {"loss": 0.25})]
