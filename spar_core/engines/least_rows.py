"""How few rows a CPU may multiply at once for each row's sums to be those of a larger batch, to the last bit.

Libraries of matrix products take another path where rows are few, and may add up in another order there: an Intel CPU
with AMX does so below 16 rows. A batch that is filled up to the size found here gives a row the same numbers however
many others there are, so that the shards of a stage may be computed together, apart, or again.
"""

from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import linear

_TRIED = (8, 16)  # a step of 16 rows takes a fifth longer than one of 8; with fewer no time is saved
_MANY = 64


def least_rows(model: Any) -> int:
    """Rows to fill a batch of this model up to: the fewest of those tried that no layer of it adds up otherwise for.

    The fewest of all where that holds for none (a GPU, bfloat16, layers of several thousand inputs): there sums may
    depend on the batch.
    """
    if model.device.type != "cpu":
        return _TRIED[0]
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear]
    shapes = {(layer.in_features, layer.out_features) for layer in layers if layer.weight.dtype == torch.float32}
    return next((rows for rows in _TRIED if all(_same_from(rows, *shape) for shape in shapes)), _TRIED[0])


@lru_cache
def _same_from(rows: int, inputs: int, outputs: int) -> bool:
    """Whether a float32 product on one core has the same bits for so many rows and for any number up to many."""
    threads, source = torch.get_num_threads(), torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    try:
        batch = torch.randn((_MANY, inputs), generator=source)
        weight = torch.randn((outputs, inputs), generator=source)
        whole = linear(batch, weight)
        return all(torch.equal(linear(batch[:count], weight), whole[:count]) for count in range(rows, _MANY))
    finally:
        torch.set_num_threads(threads)
