"""A model that no process holds as a whole: FSDP2 around every layer, each process reads its share from the files."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard
from transformers import AutoModelForCausalLM
from transformers.initialization import no_init_weights

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.training.adapters import initial_adapter, is_adapter, stored_name
from spar_core.training.model_folder import tensor_files

BY_NAME = (
    "their names in its files must be those of its layers: load and save it once with transformers, or set {remedy}"
)


def empty_model(config: Any, dtype: torch.dtype, attention: str | None) -> Any:
    """The model of this configuration without weights (they are on torch's `meta` device), its buffers in place."""
    with ExitStack() as stack:
        stack.enter_context(no_init_weights())
        stack.enter_context(init_empty_weights(include_buffers=False))
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    model.tie_weights()  # left out with the initialisation; FSDP must see which weights are one
    return model


def shard(model: Any, weights: Path, launch: LaunchConfig, *, seed: int, bf16: bool) -> None:
    """Share a model of `empty_model` out over all processes, in place, and fill it. Called by all of them.

    Every layer is a unit that is gathered for its turn; what lies outside the layers (embedding, norm, head) is
    gathered for the whole pass, because TRL uses the head's weight without calling the head.

    Args:
        model: with or without adapters; `seed` decides the adapters' first values, as for a whole model.
        weights: folder of the safetensors files. Each process reads its own part of each tensor.
        launch: `offload` keeps the shares in CPU memory.
        seed: of the adapters.
        bf16: whether the passes compute in bfloat16; gradients are added up in fp32 in any case.

    Raises:
        TrainingError: the files lack a weight of the model, or it has another shape.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    world = distributed.get_world_size()
    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device, (world,)),
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy(pin_memory=device == "cuda") if launch.offload else OffloadPolicy(),
        "shard_placement_fn": lambda weight: _widest(weight, world),
    }
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    for layer in [module for module in model.modules() if type(module).__name__ in kinds]:
        fully_shard(layer, **settings)
    fully_shard(model, **settings)
    shares: dict[str, torch.Tensor] = {}
    for name, weight, values in _filled(model, weights, seed):
        share = _share(name, weight, values)
        shares[name] = share.to("cpu") if launch.offload else share
    model.load_state_dict(shares, strict=False, assign=True)
    model.tie_weights()
    missing = [name for name, weight in model.named_parameters() if weight.is_meta]
    if missing:
        raise TrainingError(
            f"The weights in {weights} lack {[stored_name(name) for name in missing[:3]]}; to be sharded, "
            + BY_NAME.format(remedy="launch.sharding=none")
        )


def is_sharded(model: Any) -> bool:
    """Whether `shard` has been here."""
    return isinstance(model, FSDPModule)


def give_back(model: Any) -> None:
    """Free what the last forward pass has gathered; only then do optimisers find the shares.

    FSDP2 keeps what lies outside the layers for a backward pass, which a pass for the reference does not have.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def gathered(weights: Iterator[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Whole tensors, one at a time, in CPU memory. All processes must go through it together."""
    for name, weight in weights:
        whole = weight.detach()
        if isinstance(whole, DTensor):
            kind = whole.device_mesh.device_type
            # What is kept in CPU memory is gathered through the device.
            share: Any = whole if whole.device.type == kind else whole.to(kind)
            whole = share.full_tensor()
        yield name, whole.cpu()


def _widest(weight: torch.Tensor, world: int) -> Shard | None:
    """Another dimension for a matrix with fewer rows than processes (an adapter), so that no share is empty."""
    if weight.dim() > 1 and weight.size(0) < world and weight.size(1) % world == 0:
        return Shard(1)
    return None


def _device(kind: str) -> torch.device:
    return torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)


def _filled(model: Any, weights: Path, seed: int) -> Iterator[tuple[str, Any, Any]]:
    """Each weight with what it is read from: something that takes slices."""
    files = tensor_files(weights)
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for name, weight in model.named_parameters():  # tied weights appear once
            if is_adapter(name):
                yield name, weight, initial_adapter(name, weight.shape, seed)
                continue
            file = files.get(stored_name(name))
            if file is None:
                continue
            if file not in opened:
                opened[file] = stack.enter_context(safe_open(file, framework="pt"))
            yield name, weight, opened[file].get_slice(stored_name(name))


def _share(name: str, weight: Any, values: Any) -> DTensor:
    """This process's part of a weight, read from `values`."""
    shape = tuple(values.shape if isinstance(values, torch.Tensor) else values.get_shape())
    if shape != tuple(weight.shape):
        raise TrainingError(
            f"Weight {stored_name(name)} has shape {shape} in the files and {tuple(weight.shape)} by config.json; they "
            "do not belong together. Fetch or rebuild the model."
        )
    mesh, placement = weight.device_mesh, weight.placements[0]
    part = -(-shape[placement.dim] // mesh.size())
    start = min(mesh.get_local_rank() * part, shape[placement.dim])
    end = min(start + part, shape[placement.dim])
    local = values[start:end] if placement.dim == 0 else values[:, start:end]
    local = local.to(device=_device(mesh.device_type), dtype=weight.dtype).contiguous()
    return DTensor.from_local(
        local, mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )
