import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import END, write_model

from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_folder import load_model, pick_device
from spar_core.errors import EngineError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("removed", "named"),
    [("config.json", "config.json"), ("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")],
)
def test_a_missing_file_is_named(tmp_path: Path, removed: str, named: str) -> None:
    write_model(tmp_path)
    (tmp_path / removed).unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(EngineError, match=named) as caught:
        resolve_folder(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"{tmp_path}/none does not exist"):
        resolve_folder(str(tmp_path / "none"))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_corrupt_file_is_an_engine_error_that_names_the_folder(tmp_path: Path, file: str) -> None:
    write_model(tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:40])
    with pytest.raises(EngineError, match=f"model folder {tmp_path}: cannot read"):
        load_model(tmp_path, CPU, "auto")


def test_missing_weights_are_an_error_and_not_random_numbers(tmp_path: Path) -> None:
    write_model(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"missing or misshapen.*layers\.1\.mlp\.up_proj"):
        load_model(tmp_path, CPU, "auto")


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    write_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["intermediate_size"] = 40
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=str(tmp_path)):
        load_model(tmp_path, CPU, "auto")


def test_what_the_engine_reads_off_a_model(tmp_path: Path) -> None:
    loaded = load_model(write_model(tmp_path), CPU, "bfloat16")
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.cache_dtype == torch.float32
    assert loaded.context == 96
    assert loaded.end_tokens == (END,)
    # Keys and values, 2 layers, 2 heads of 8, 4 bytes each.
    assert loaded.bytes_per_position == 2 * 2 * 2 * 8 * 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_asking_for_a_gpu_that_is_not_there_is_a_clear_error() -> None:
    assert pick_device("auto") == CPU
    with pytest.raises(EngineError, match="set device to auto or cpu"):
        pick_device("cuda:0")
