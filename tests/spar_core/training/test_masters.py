"""`keep_masters`: the next training goes on from the fp32 weights, not from what was rounded for serving."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from trainable_models import save_tiny_model

from spar_core.config.launch import LaunchConfig
from spar_core.hashing import model_digest
from spar_core.training import TrainingSpec
from spar_core.training.model_folder import MASTERS
from spar_core.training.session import run_session
from spar_core.training.workspace import Workspace
from storage.artifacts import ArtifactStore
from storage.home import Home

MakeSpec = Callable[..., TrainingSpec]
Weights = dict[str, torch.Tensor]


def trained(spec: TrainingSpec) -> Path:
    workspace = Workspace(spec.work)
    workspace.folder.mkdir()
    workspace.claim("one", "whole")
    run_session(spec, "one")
    return spec.output_folder


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def furthest(one: Weights, other: Weights) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_the_next_training_goes_on_where_the_last_ended_before_rounding(
    make_spec: MakeSpec, tmp_path: Path, kind: str
) -> None:
    start = save_tiny_model(tmp_path / "m", dtype=torch.bfloat16)
    first = trained(make_spec(kind, start, "first", keep_masters=True))
    masters, served = weights(first / MASTERS), weights(first)
    assert {value.dtype for value in masters.values()} == {torch.float32}
    assert {value.dtype for value in served.values()} == {torch.bfloat16}
    assert all(torch.equal(served[name], value.to(torch.bfloat16)) for name, value in masters.items())
    assert any(not torch.equal(value, value.to(torch.bfloat16).float()) for value in masters.values())

    kept = ArtifactStore(Home(tmp_path / "home")).adopt_model("train_actor", "k", first)  # as a run keeps it
    assert model_digest(kept) == model_digest(first)
    second = weights(trained(make_spec(kind, kept, "second", keep_masters=True)) / MASTERS)

    whole = tmp_path / "whole"  # the same masters as a plain fp32 model
    shutil.copytree(first, whole, ignore=shutil.ignore_patterns(MASTERS))
    save_file(masters, whole / "model.safetensors", metadata={"format": "pt"})
    assert furthest(second, weights(trained(make_spec(kind, whole, "plain")))) == 0.0

    shutil.rmtree(first / MASTERS)
    from_rounded = weights(trained(make_spec(kind, first, "rounded", keep_masters=True)) / MASTERS)
    assert furthest(second, from_rounded) > 1e-5


@pytest.mark.slow
def test_sharded_masters_equal_those_of_one_process(make_spec: MakeSpec, tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m", dtype=torch.bfloat16)
    first = trained(make_spec("sft", start, "first", keep_masters=True))
    from spar_core.training import train

    two = LaunchConfig(processes=2, sharding="full", threads=1)
    sharded = make_spec("sft", first, "sharded", keep_masters=True, launch=two)
    train(sharded)
    alone = trained(make_spec("sft", first, "alone", keep_masters=True))
    assert furthest(weights(sharded.output_folder / MASTERS), weights(alone / MASTERS)) < 1e-4
