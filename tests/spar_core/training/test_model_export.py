from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from trainable_models import save_tiny_model
from transformers import AutoModelForCausalLM

from spar_core.config.training import LoraConfig
from spar_core.errors import TrainingError
from spar_core.training import export
from spar_core.training.adapters import initial_adapter, is_adapter, merged, peft_config, stored_name
from spar_core.training.export import _Files, _with_explicit_head
from spar_core.training.specification import TrainingSpec

MakeSpec = Callable[..., TrainingSpec]


def test_many_tensors_become_several_files_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = save_tiny_model(tmp_path / "m", tied=True)
    monkeypatch.setattr(export, "_FILE_BYTES", 5000)
    tensors = load_file(start / "model.safetensors")
    files = _Files(tmp_path / "out", torch.bfloat16)
    for name, tensor in _with_explicit_head(iter(tensors.items())):
        files.add(name, tensor)
    files.finish()
    (tmp_path / "out" / "config.json").write_bytes((start / "config.json").read_bytes())
    written = sorted(entry.name for entry in (tmp_path / "out").glob("*.safetensors"))
    assert len(written) > 1
    assert written[0] == f"model-00001-of-{len(written):05d}.safetensors"
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(found[name], tensor.bfloat16()) for name, tensor in tensors.items())
    assert torch.equal(found["lm_head.weight"], tensors["model.embed_tokens.weight"].bfloat16())
    everything = {name: value for file in written for name, value in load_file(tmp_path / "out" / file).items()}
    assert "lm_head.weight" in everything


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_a_tensor_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    files = _Files(tmp_path / "out", torch.bfloat16)
    files.add("good", torch.ones(2))
    with pytest.raises(TrainingError, match="NaN or infinite in bad; lower learning_rate"):
        files.add("bad", torch.tensor([0.0, value], dtype=torch.float64))


def test_merging_equals_peft(tmp_path: Path) -> None:
    start = save_tiny_model(tmp_path / "m")
    lora = LoraConfig(rank=3, alpha=5)
    model: PeftModel = get_peft_model(AutoModelForCausalLM.from_pretrained(start), peft_config(lora))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_adapter(name):
                weight.normal_()
    adapters = {name: value.detach().clone() for name, value in model.named_parameters() if is_adapter(name)}
    found = dict(merged(start, adapters, lora))
    whole = model.merge_and_unload().state_dict()
    assert found.keys() == whole.keys()
    assert all(torch.allclose(found[name], whole[name], atol=1e-5) for name in found)


def test_adapters_begin_alike_on_any_number_of_processes() -> None:
    down = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    assert stored_name(down) == stored_name(down.replace("lora_A.default", "base_layer"))
    assert stored_name(down) == "model.layers.0.self_attn.q_proj.weight"
    first = initial_adapter(down, torch.Size((4, 64)), seed=0)
    assert torch.equal(first, initial_adapter(down, torch.Size((4, 64)), seed=0))
    assert not torch.equal(first, initial_adapter(down, torch.Size((4, 64)), seed=1))
    assert not torch.equal(first, initial_adapter(down.replace("q_proj", "k_proj"), torch.Size((4, 64)), seed=0))
    assert first.abs().max().item() == pytest.approx(1 / 8, rel=0.05)  # Kaiming's bound: 1 / sqrt(inputs)
    assert not initial_adapter(down.replace("lora_A", "lora_B"), torch.Size((64, 4)), seed=0).any()
