"""The trained weights as a plain model folder: what an engine loads, nothing of the trainer."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from spar_core.errors import TrainingError
from spar_core.training.adapters import is_adapter, merged
from spar_core.training.model_folder import MASTERS, copy_all_but_weights, read_header, tensor_files
from spar_core.training.sharding import gathered, is_sharded
from spar_core.training.specification import TrainingSpec
from spar_core.training.workspace import Workspace

Tensors = Iterator[tuple[str, torch.Tensor]]

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_FILE_BYTES = 5 * 10**9  # as model files usually are; what is gathered waits in memory until a file of it is written
DIVERGED = "lower learning_rate or raise warmup_ratio"
"""What to do about a training that went astray."""
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def write_model(trainer: Any, spec: TrainingSpec, workspace: Workspace) -> None:
    """Write weights, configuration and tokenizer to `workspace.new_model`. Called by all processes.

    Weights keep the number format of the starting model; everything that is not weights is copied from it unchanged.
    LoRA adapters are merged. Sharded weights are gathered tensor by tensor: the first process never holds more than one
    file of them, the others one tensor.

    Raises:
        TrainingError: a weight is NaN or infinite; names the tensor.
    """
    tensors = _adapted(trainer, spec, workspace) if spec.config.lora else _trained(trainer, workspace)
    if not trainer.is_world_process_zero():
        for _ in tensors:  # takes part in gathering
            pass
        return
    workspace.new_model.mkdir(parents=True, exist_ok=True)
    copy_all_but_weights(spec.model_folder, workspace.new_model)
    files = [_Files(workspace.new_model, storage_dtype(spec.model_folder))]
    if spec.config.keep_masters:
        files.append(_Files(workspace.new_model / MASTERS, torch.float32))
        shutil.copyfile(spec.model_folder / "config.json", files[1].folder / "config.json")  # else nothing loads them
    for name, tensor in _with_explicit_head(tensors):
        for written in files:
            written.add(name, tensor)
    for written in files:
        written.finish()
    shutil.rmtree(workspace.gathered, ignore_errors=True)


def storage_dtype(folder: Path) -> torch.dtype:
    """Number format of most parameters of a model folder."""
    sizes: dict[str, int] = {}
    for shard in folder.glob("*.safetensors"):
        for name, entry in read_header(shard).items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                sizes[entry["dtype"]] = sizes.get(entry["dtype"], 0) + end - start
    return _DTYPES.get(max(sizes, key=lambda name: sizes[name]), torch.float32)


def _trained(trainer: Any, workspace: Workspace) -> Tensors:
    """All weights of a training without adapters, under the names of the files it started from."""
    if is_sharded(trainer.model):
        yield from gathered(trainer.model.named_parameters())
        return
    _save(trainer, workspace)
    if trainer.is_world_process_zero():
        yield from _stored(workspace.gathered)


def _adapted(trainer: Any, spec: TrainingSpec, workspace: Workspace) -> Tensors:
    """The starting weights with the adapters added."""
    if is_sharded(trainer.model):
        adapters = dict(
            gathered((name, weight) for name, weight in trainer.model.named_parameters() if is_adapter(name))
        )
    else:
        _save(trainer, workspace)
        adapters = dict(_stored(workspace.gathered)) if trainer.is_world_process_zero() else {}
    if trainer.is_world_process_zero():
        assert spec.config.lora is not None
        yield from merged(spec.model_folder, adapters, spec.config.lora)


def _save(trainer: Any, workspace: Workspace) -> None:
    """Have the trainer write what it holds, or, with an accelerate file, gathers, for the first process."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is not None:  # FSDP by an accelerate file; sharded state would leave no weights to publish
        plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(workspace.gathered))
    trainer.accelerator.wait_for_everyone()


def _stored(folder: Path) -> Tensors:
    for name, file in tensor_files(folder).items():
        with safe_open(file, framework="pt") as handle:
            yield name, handle.get_tensor(name)


def _with_explicit_head(tensors: Tensors) -> Tensors:
    """Write a tied output head out too.

    vLLM's in-place weight reload leaves a tied head at its old values unless the files hold it (wrong logits).
    """
    embedding, has_head = None, False
    for name, tensor in tensors:
        has_head = has_head or name == _HEAD
        embedding = tensor if name == _EMBEDDING else embedding
        yield name, tensor
    if embedding is not None and not has_head:
        yield _HEAD, embedding.clone()


class _Files:
    """Writes tensors in one number format, checked, into as many files as they need, with an index if several."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._dtype = dtype
        self._waiting: dict[str, torch.Tensor] = {}
        self._written: list[tuple[Path, list[str], int]] = []

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one more tensor.

        Raises:
            TrainingError: it is NaN or infinite.
        """
        if tensor.is_floating_point():
            tensor = tensor.to(self._dtype)
            if not torch.isfinite(tensor).all():
                raise TrainingError(f"the trained weights are NaN or infinite in {name}; {DIVERGED}")
        if self._waiting and self._bytes() + tensor.nbytes > _FILE_BYTES:
            self._write()
        self._waiting[name] = tensor.contiguous()

    def finish(self) -> None:
        """Write the rest and give the files their names."""
        self._write()
        if len(self._written) == 1:
            self._written[0][0].rename(self.folder / "model.safetensors")
            return
        count, index = len(self._written), {}
        for number, (file, names, _) in enumerate(self._written, start=1):
            final = file.with_name(f"model-{number:05d}-of-{count:05d}.safetensors")
            file.rename(final)
            index.update(dict.fromkeys(names, final.name))
        total = sum(size for *_, size in self._written)
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, indent=2)
        (self.folder / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")

    def _bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._waiting.values())

    def _write(self) -> None:
        file = self.folder / f"part-{len(self._written)}"
        save_file(self._waiting, file, metadata={"format": "pt"})
        self._written.append((file, list(self._waiting), self._bytes()))
        self._waiting = {}
