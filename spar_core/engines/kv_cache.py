"""Key/value cache of a ragged batch, and the attention that reads it.

Every row owns a slot: its keys and values lie left-aligned from position 0, so rows of any age share one
rectangular tensor, a finished row's slot is overwritten by the next, and nothing is ever shifted.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import scaled_dot_product_attention

from spar_core.errors import EngineError

ATTENTION_NAME = "spar_ragged"
_LENGTH_STEP = 64  # positions; growing in steps keeps reallocation rare
_ROW_STEP = 16
_SPAN_STEP = (
    16  # columns of decoding attention; on many CPUs whole vectors add up in the same order however many follow
)
_CALL_COLUMNS = 256  # a call of attention takes as long as to read this many columns of a row


class Stretch(NamedTuple):
    """Neighbouring slots, from `first` up to `last`, whose attention looks at the first `span` cache columns."""

    first: int
    last: int
    span: int


class DecodeStep:
    """What one decoding step needs to know: which position each of the first `rows` slots is at.

    Args:
        positions: int64 [rows], index of the token being computed = tokens already cached.
        stretches: the slots in order, each stretch with a span beyond all its positions.
        dtype: of the cache, and so of the additive mask.
    """

    def __init__(self, positions: torch.Tensor, stretches: Sequence[Stretch], dtype: torch.dtype) -> None:
        self.positions = positions
        self.stretches = stretches
        self.span = max(stretch.span for stretch in stretches)
        self.rows = torch.arange(positions.shape[0], device=positions.device)
        self._dtype = dtype
        self._masks: dict[int | None, torch.Tensor] = {}

    @property
    def windows(self) -> set[int | None]:
        """The sliding windows that attention asked for so far; None stands for the whole past."""
        return set(self._masks)

    def mask(self, window: int | None) -> torch.Tensor:
        """Additive mask [rows, 1, 1, span]: 0 where a row may look (its own past, within `window`), else -inf."""
        found = self._masks.get(window)
        if found is None:
            columns = torch.arange(self.span, device=self.positions.device)
            here = self.positions[:, None]
            hidden = columns > here
            if window is not None:
                hidden |= columns <= here - window
            found = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
            found = found.masked_fill_(hidden, float("-inf"))[:, None, None, :]
            self._masks[window] = found
        return found


class SlotCache:
    """Keys and values of all slots: per layer two tensors [slots, kv_heads, length, head_dim], grown on demand.

    Stands where transformers expects a `Cache`: a model calls `update` once per layer and step.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._shape = (0, 0)
        self._step: DecodeStep | None = None
        self._prefill: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def length(self) -> int:
        """Positions a slot can hold at present."""
        return self._shape[1]

    def begin_decode(self, step: DecodeStep) -> None:
        """The next forward adds one token to each of the first slots."""
        self._step, self._prefill = step, None

    def begin_prefill(self, slots: torch.Tensor, sources: torch.Tensor) -> None:
        """The next forward computes whole prompts: slot `slots[i]` receives row `sources[i]` of it."""
        self._step, self._prefill = None, (slots, sources)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store [rows, kv_heads, new, head_dim] and return what attention reads."""
        if layer_idx >= len(self._keys):
            self._add_layer(keys)
        stored_keys, stored_values = self._keys[layer_idx], self._values[layer_idx]
        if self._step is not None:
            rows, positions, span = self._step.rows, self._step.positions, self._step.span
            stored_keys[rows, :, positions] = keys[:, :, 0].to(self.dtype)
            stored_values[rows, :, positions] = values[:, :, 0].to(self.dtype)
            count = rows.shape[0]
            return stored_keys[:count, :, :span], stored_values[:count, :, :span]
        assert self._prefill is not None
        slots, sources = self._prefill
        new = keys.shape[2]
        stored_keys[slots, :, :new] = keys.to(self.dtype)[sources]
        stored_values[slots, :, :new] = values.to(self.dtype)[sources]
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Part of the interface models may ask for; positions are always passed explicitly."""
        return 0

    def reserve(self, rows: int, length: int) -> None:
        """Make room for `rows` slots of `length` positions, keeping what is stored in the first slots."""
        if rows <= self._shape[0] and length <= self._shape[1]:
            return
        self._shape = rounded(max(rows, self._shape[0]), max(length, self._shape[1]))
        self._reallocate()

    def shrink(self, rows: int) -> None:
        """Keep only the first `rows` slots."""
        self._shape = (min(rounded(rows, 0)[0], self._shape[0]), self._shape[1])
        self._reallocate()

    def move(self, sources: torch.Tensor, targets: torch.Tensor, length: int) -> None:
        """Copy slots `sources` onto slots `targets` (the first `length` positions)."""
        for tensors in (self._keys, self._values):
            for stored in tensors:
                stored[targets, :, :length] = stored[sources, :, :length]

    def release(self) -> None:
        """Free all memory."""
        self._keys.clear()
        self._values.clear()
        self._shape = (0, 0)
        self._step = self._prefill = None

    def _add_layer(self, like: torch.Tensor) -> None:
        slots, length = self._shape
        for tensors in (self._keys, self._values):
            tensors.append(like.new_zeros((slots, like.shape[1], length, like.shape[3]), dtype=self.dtype))

    def _reallocate(self) -> None:
        slots, length = self._shape
        for tensors in (self._keys, self._values):
            for layer, old in enumerate(tensors):
                new = old.new_zeros((slots, old.shape[1], length, old.shape[3]))
                rows, kept = min(slots, old.shape[0]), min(length, old.shape[2])
                new[:rows, :, :kept] = old[:rows, :, :kept]
                tensors[layer] = new


def stretches(positions: npt.NDArray[np.int64]) -> list[Stretch]:
    """Cut the slots into stretches of similar length: rows of 100 tokens do not wait for a neighbour of 1,000.

    The numbers of a row are the same in any stretch, on some CPUs to the last bit, on others within rounding (1e-6
    where values are about 1). `positions`: int64 [rows], not empty.
    """
    found: list[Stretch] = []
    first, longest = 0, 0
    for slot, span in enumerate((positions // _SPAN_STEP + 1).tolist()):
        taller = max(longest, span)
        more = taller * (slot + 1 - first) - longest * (slot - first) - span
        if slot > first and more * _SPAN_STEP > _CALL_COLUMNS:
            found.append(Stretch(first, slot, longest * _SPAN_STEP))
            first, taller = slot, span
        longest = taller
    return [*found, Stretch(first, len(positions), longest * _SPAN_STEP)]


def whole(positions: npt.NDArray[np.int64]) -> list[Stretch]:
    """All slots in one stretch."""
    return [Stretch(0, len(positions), (int(positions.max()) // _SPAN_STEP + 1) * _SPAN_STEP)]


def rounded(rows: int, length: int) -> tuple[int, int]:
    """Shape in which room for `rows` x `length` is reserved."""
    return -(-rows // _ROW_STEP) * _ROW_STEP, -(-length // _LENGTH_STEP) * _LENGTH_STEP


def ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention for transformers' registry: query [rows, heads, new, head_dim] -> [rows, new, heads, head_dim].

    A `DecodeStep` passed to the model's forward as `ragged_step` means decoding; without it the call is a
    prefill of right-padded prompts, where causality alone hides the padding.

    Raises:
        EngineError: the model needs a variant (soft-capping, sinks) that is not supported.
    """
    if options.get("softcap") is not None or options.get("s_aux") is not None:
        raise EngineError(
            f"{type(module).__name__} uses attention soft-capping or sinks, which the in-process engine does not "
            "support: serve this model with engine kind 'vllm' or 'openai'"
        )
    rows, heads, new, head_dim = query.shape
    kv_heads = key.shape[1]
    step: DecodeStep | None = options.get("ragged_step")
    if step is not None:
        # Query heads that share a key head stand in the place of query positions: no copy of the cache.
        packed = query.reshape(rows, kv_heads, heads // kv_heads, head_dim).to(key.dtype)
        hidden = step.mask(sliding_window)
        parts = [
            scaled_dot_product_attention(
                packed[first:last],
                key[first:last, :, :span],
                value[first:last, :, :span],
                attn_mask=hidden[first:last, :, :, :span],
                scale=scaling,
            )
            for first, last, span in step.stretches
        ]
        mixed = parts[0] if len(parts) == 1 else torch.cat(parts)
        return mixed.to(query.dtype).reshape(rows, 1, heads, value.shape[3]), None
    mask = _band(new, sliding_window, query.device) if sliding_window is not None and new > sliding_window else None
    mixed = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=heads != kv_heads
    )
    return mixed.transpose(1, 2), None


def _band(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Boolean [length, length]: causal, and no further back than `window` positions."""
    here = torch.arange(length, device=device)
    distance = here[:, None] - here[None, :]
    return (distance >= 0) & (distance < window)
