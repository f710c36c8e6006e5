"""The trained weights as a plain model folder: what an engine loads, nothing of the trainer."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from spar_core.errors import TrainingError
from spar_core.training.model_folder import copy_all_but_weights, read_header
from spar_core.training.specification import TrainingSpec
from spar_core.training.workspace import Workspace

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
DIVERGED = "lower learning_rate or raise warmup_ratio"
"""What to do about a training that went astray."""
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def write_model(trainer: Any, spec: TrainingSpec, workspace: Workspace) -> None:
    """Write weights, configuration and tokenizer to `workspace.new_model`. Called by all processes.

    Weights keep the number format of the starting model; everything that is not weights is copied from it unchanged.
    LoRA adapters are merged. Sharded training (FSDP, DeepSpeed) gathers through the trainer.

    Raises:
        TrainingError: a weight is NaN or infinite; names the tensor.
    """
    target = workspace.adapter if spec.config.lora is not None else workspace.new_model
    trainer.save_model(str(target))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return
    if spec.config.lora is not None:
        _merge_adapter(spec.model_folder, workspace.adapter, workspace.new_model)
    for entry in list(workspace.new_model.iterdir()):
        if ".safetensors" not in entry.name:
            entry.unlink()
    copy_all_but_weights(spec.model_folder, workspace.new_model)
    dtype = storage_dtype(spec.model_folder)
    for shard in sorted(workspace.new_model.glob("*.safetensors")):
        _rewrite(shard, dtype)


def storage_dtype(folder: Path) -> torch.dtype:
    """Number format of most parameters of a model folder."""
    sizes: dict[str, int] = {}
    for shard in folder.glob("*.safetensors"):
        for name, entry in read_header(shard).items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + end - start
    return _DTYPES.get(max(sizes, key=lambda name: sizes[name]), torch.float32)


def _merge_adapter(base: Path, adapter: Path, target: Path) -> None:
    """Add the adapters' product to the base weights in fp32."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)


def _rewrite(shard: Path, dtype: torch.dtype) -> None:
    """Cast, check, and store a tied output head explicitly in a single-file model.

    vLLM's in-place weight reload leaves a tied head at its old values unless the file holds it (wrong logits).
    """
    with safe_open(shard, framework="pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - no mapping
    if shard.name == "model.safetensors" and _HEAD not in tensors and _EMBEDDING in tensors:
        tensors[_HEAD] = tensors[_EMBEDDING].clone()
    cast = {
        name: value.to(dtype).contiguous() if value.is_floating_point() else value for name, value in tensors.items()
    }
    for name, value in cast.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise TrainingError(f"the trained weights are NaN or infinite in {name}; {DIVERGED}")
    rewritten = shard.with_name(shard.name + ".partial")
    save_file(cast, rewritten, metadata={"format": "pt"})
    rewritten.replace(shard)
