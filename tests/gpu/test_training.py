"""Training on an accelerator: bf16 mixed precision, LoRA, several devices, memory given back."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "spar_core" / "training"))

from trainable_models import save_tiny_model
from training_data import example_rows, pair_rows, write_parquet

from spar_core.config.launch import LaunchConfig
from spar_core.config.training import DpoTrainingConfig, LoraConfig, SftTrainingConfig
from spar_core.hashing import model_digest
from spar_core.training import TrainingSpec, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def spec_of(folder: Path, kind: str, output: str = "out", processes: int = 1, **settings: object) -> TrainingSpec:
    data = write_parquet(folder / f"{kind}.parquet", pair_rows(32) if kind == "dpo" else example_rows(32))
    config_class = DpoTrainingConfig if kind == "dpo" else SftTrainingConfig
    common = {"learning_rate": 1e-2, "epochs": 1.0, "batch_size": 8, "micro_batch_size": 4, "max_length": 100}
    return TrainingSpec(
        kind=kind,
        model_folder=folder / "m",
        data_files=(data,),
        output_folder=folder / output,
        config=config_class(**{**common, "log_steps": 1, **settings}),
        launch=LaunchConfig(processes=processes),
    )


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_bf16_training_is_repeatable_and_learns(tmp_path: Path, kind: str) -> None:
    save_tiny_model(tmp_path / "m", dtype=torch.bfloat16)
    losses: list[float] = []

    def collect(_step: int, metrics: dict[str, float]) -> None:
        if "loss" in metrics:
            losses.append(metrics["loss"])

    first = train(spec_of(tmp_path, kind, epochs=4.0), collect)
    assert losses[-1] < 0.8 * losses[0]
    assert {value.dtype for value in load_file(first.model_folder / "model.safetensors").values()} == {torch.bfloat16}
    second = train(spec_of(tmp_path, kind, "again", epochs=4.0))
    assert model_digest(first.model_folder) == model_digest(second.model_folder)


def test_lora_with_gradient_checkpointing(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "m")
    outcome = train(
        spec_of(tmp_path, "dpo", lora=LoraConfig(rank=2, alpha=4, learning_rate=1e-2), gradient_checkpointing=True)
    )
    before, after = load_file(tmp_path / "m/model.safetensors"), load_file(outcome.model_folder / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert before.keys() == after.keys()
    assert not torch.equal(before[name], after[name])


def test_memory_is_free_afterwards(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "m")
    free_before, _ = torch.cuda.mem_get_info()
    train(spec_of(tmp_path, "sft"))
    free_after, _ = torch.cuda.mem_get_info()
    assert abs(free_before - free_after) < 64 * 2**20


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_devices_equal_accumulation_of_two(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "m")
    one = train(spec_of(tmp_path, "sft", "one", precision="fp32"))
    two = train(spec_of(tmp_path, "sft", "two", processes=2, precision="fp32"))
    assert two.metrics["train_loss"] == pytest.approx(one.metrics["train_loss"], abs=1e-4)
