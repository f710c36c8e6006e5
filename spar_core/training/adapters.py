"""Low-rank adapters: how they begin, and how they end up in the weights."""

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from spar_core.config.training import LoraConfig
from spar_core.errors import TrainingError
from spar_core.training.model_folder import tensor_files

_WRAPPED = "base_model.model."  # what PEFT puts before the name of every weight
_DOWN, _UP = ".lora_A.", ".lora_B."


def peft_config(lora: LoraConfig) -> Any:
    """The same in PEFT's words."""
    from peft import LoraConfig as PeftLoraConfig

    modules = lora.target_modules
    return PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )


def is_adapter(name: str) -> bool:
    """Whether a weight of a PEFT model is one of an adapter."""
    return _DOWN in name or _UP in name


def stored_name(name: str) -> str:
    """Name in the model's files of a weight that PEFT may have wrapped; for an adapter, of the weight it changes."""
    for part in (_DOWN, _UP):
        name = name.partition(part)[0] + ".weight" if part in name else name
    return name.removeprefix(_WRAPPED).replace(".base_layer.", ".")


def initial_adapter(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    """First values, the same however many processes there are: Kaiming uniform before, zero after (as in the paper)."""
    first = torch.zeros(shape)
    if _DOWN in name:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(stored_name(name).encode()))
        torch.nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
    return first


def begin_adapters(model: Any, seed: int) -> None:
    """Give the adapters of a model that is whole on every process their first values."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_adapter(name):
                weight.copy_(initial_adapter(name, weight.shape, seed))


def check_targets(model: Any, base: Path) -> None:
    """Say before the training whether its adapters can be merged after it.

    Raises:
        TrainingError: a weight with an adapter is not in the files.
    """
    stored = tensor_files(base)
    targets = {stored_name(name) for name, _ in model.named_parameters() if is_adapter(name)}
    if lacking := sorted(targets - stored.keys()):
        raise TrainingError(
            f"lora.target_modules gives {lacking[0]} an adapter, and the files in {base} have no weight of that name "
            "to merge it into; choose other target_modules"
        )


def merged(base: Path, adapters: Mapping[str, torch.Tensor], lora: LoraConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """The base model's tensors, one at a time, those with an adapter in fp32 with its product added."""
    down = {stored_name(name): value.float() for name, value in adapters.items() if _DOWN in name}
    up = {stored_name(name): value.float() for name, value in adapters.items() if _UP in name}
    for name, file in tensor_files(base).items():
        with safe_open(file, framework="pt") as handle:
            tensor = handle.get_tensor(name)
        if name in down:
            tensor = tensor.float() + (up[name] @ down[name]) * (lora.alpha / lora.rank)
        yield name, tensor
