import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import END, SYSTEM, TEMPLATE, UNKNOWN, write_model, write_tokenizer
from transformers import AutoModelForCausalLM, Gemma2Config, GptOssConfig, Llama4TextConfig

from spar_core.engines import model_folder
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_folder import load_model, pick_device
from spar_core.errors import EngineError

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 96,
    "pad_token_id": 0,
}


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
    with pytest.raises(EngineError, match=f"{tmp_path}/none': no such folder"):
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


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (Gemma2Config(**SIZES), "soft-capping"),
        (GptOssConfig(**SIZES, num_local_experts=2, num_experts_per_tok=1), "sinks"),
        (Llama4TextConfig(**SIZES, layer_types=["chunked_attention", "full_attention"]), "chunked_attention"),
    ],
)
def test_attention_that_is_not_computed_is_refused_at_load(tmp_path: Path, config: Any, named: str) -> None:
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(EngineError, match=rf"{named}.* engine kind 'vllm' or 'openai'") as caught:
        load_model(tmp_path, CPU, "auto")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # As ChatML: the template ends an answer with a token that the generation configuration does not know.
        ("{% for m in messages %}<{{ m.role }}> {{ m.content }} <unk> {% endfor %}", (END, SYSTEM, UNKNOWN)),
        # Nothing follows an answer.
        (TEMPLATE, (END, SYSTEM)),
        # What opens the next answer is no end.
        ("{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}<assistant> ", (END, SYSTEM)),
        # An ordinary word is no end either.
        ("{% for m in messages %}<{{ m.role }}> {{ m.content }} w9 {% endfor %}", (END, SYSTEM)),
    ],
)
def test_ends_are_those_of_generation_config_tokenizer_and_template(
    tmp_path: Path, template: str, expected: tuple[int, ...]
) -> None:
    write_model(tmp_path, template=template)  # the generation configuration says END
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<system>"}))
    assert load_model(tmp_path, CPU, "auto").end_tokens == expected


def test_bfloat16_on_a_cpu_without_it_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path)
    monkeypatch.setattr(model_folder, "computes_bfloat16", lambda: False)
    load_model(tmp_path, CPU, "auto")
    assert caplog.messages == []
    load_model(tmp_path, CPU, "bfloat16")
    assert [message for message in caplog.messages if "about 40 times slower" in message]
    monkeypatch.setattr(model_folder, "computes_bfloat16", lambda: True)
    caplog.clear()
    load_model(tmp_path, CPU, "bfloat16")
    assert caplog.messages == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_asking_for_a_gpu_that_is_not_there_is_a_clear_error() -> None:
    assert pick_device("auto") == CPU
    with pytest.raises(EngineError, match="set device to auto or cpu"):
        pick_device("cuda:0")
