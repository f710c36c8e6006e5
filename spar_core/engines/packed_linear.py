"""Linear layers whose weights are laid out for the processor once, when the model is loaded.

A matrix product of a few dozen rows lays its whole weight matrix out anew at every call, which takes as long as to
multiply it. oneDNN, a part of torch, multiplies weights that lie ready. Its sums may differ from those of
`torch.nn.Linear` in the last bit; they too are the same however many rows there are, from two on.
"""

from typing import Any

import torch

# Below, the weights of a model stay in the processor's cache, and nothing is gained.
_LEAST_BYTES = 64 * 2**20


class PackedLinear(torch.nn.Module):
    """Stands for a float32 `torch.nn.Linear` on a CPU, for inference alone: [..., in] -> [..., out].

    Args:
        linear: what it stands for; its weights are copied.
    """

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The product."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")
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
    if sum(child.weight.nbytes for _, _, child in found) < _LEAST_BYTES:
        return
    for parent, name, child in found:
        setattr(parent, name, PackedLinear(child))


def _is_possible() -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
