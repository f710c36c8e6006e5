"""Linear layers whose weights are laid out for the processor once, when the model is loaded.

A matrix product of a few dozen rows lays its whole weight matrix out anew at every call, which takes as long as to
multiply it, and reads four bytes for each weight. oneDNN and FBGEMM, parts of torch, multiply weights that lie ready.
FBGEMM keeps them in 16 bits and multiplies in 32, so that half as much is read: on a processor whose widest vectors are
AVX2's it takes 0.83 to 0.55 of oneDNN's time for 64 to 8 rows (docs/results/cpu-speed.md). It is used there where 16
bits hold the weights, as they do those of a model stored in bfloat16 or float16.

Sums may differ from those of `torch.nn.Linear` in the last bit; they too are the same however many rows there are, from
three on.
"""

from typing import Any

import torch

from spar_core.processors import LARGE_MODEL

_LOST = 2.0**-25  # of a weight beneath float16's normal numbers: half of the least that it tells apart


class PackedLinear(torch.nn.Module):
    """Stands for a float32 `torch.nn.Linear` on a CPU, for inference alone: [..., in] -> [..., out].

    Args:
        linear: what it stands for; its weights are copied.
        halves: keep them in 16 bits (`fits_halves`).
    """

    def __init__(self, linear: torch.nn.Linear, *, halves: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.halves = halves
        self.bias = linear.bias
        weight = linear.weight.detach()
        if halves:
            self._packed = torch.ops.quantized.linear_prepack_fp16(weight, linear.bias)
        else:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The product."""
        product: torch.Tensor
        if self.halves:
            product = torch.ops.quantized.linear_dynamic_fp16(rows, self._packed)
        else:
            product = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")
        return product


def pack(model: Any) -> None:
    """Replace the linear layers of a model whose weights do not fit a cache; their own weights are let go."""
    if not _is_possible():
        return
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear and child.weight.dtype == torch.float32
    ]
    if sum(child.weight.nbytes for _, _, child in found) < LARGE_MODEL:
        return
    halves = _halves_are_faster() and all(fits_halves(child.weight) for _, _, child in found)
    for parent, name, child in found:
        setattr(parent, name, PackedLinear(child, halves=halves))


def fits_halves(weight: torch.Tensor) -> bool:
    """Whether float16 holds float32 weights: to the last bit, or within 3e-8 of those below 6e-5."""
    with torch.no_grad():
        return bool((weight.half().float() - weight).abs().max() <= _LOST)


def _halves_are_faster() -> bool:
    # With AVX-512 they were not measured; AMX and AVX512-BF16 have types of their own.
    widest: str = torch.backends.cpu.get_cpu_capability()
    return widest == "AVX2" and "fbgemm" in torch.backends.quantized.supported_engines


def _is_possible() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
