"""How fast a training is, against what its devices could do, and the memory it takes."""

import resource
import time
from collections.abc import Sequence
from typing import Any

import torch

_GIB = 2**30
_PEAK_BF16 = {  # dense bf16 operations per second, from the makers' data sheets
    "B200": 2.25e15,
    "H200": 0.989e15,
    "H100 PCIe": 0.756e15,
    "H100": 0.989e15,
    "A100": 0.312e15,
    "A800": 0.312e15,
    "L40S": 0.362e15,
    "L4": 0.121e15,
    "A10": 0.125e15,
    "4090": 0.165e15,
    "3090": 0.071e15,
}


class SpeedMeter:
    """Tokens per second over all processes, model-FLOPs utilisation where the device is known, memory of this process.

    Counts what the model needs, forward and backward; recomputation and the reference's pass are none of it.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._per_token = 0.0
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self.summary: dict[str, float] = {}

    def model_is(self, model: Any, config: Any, rows: Sequence[dict[str, list[int]]]) -> None:
        """Say what is trained, on which rows."""
        self._per_token = operations_per_token(model, config, mean_length(rows))

    def start(self) -> None:
        """The clock of the first step starts."""
        self._last = (time.monotonic(), 0.0)

    def since_last(self, tokens: float | None) -> dict[str, float]:
        """Figures since the step reported before.

        Args:
            tokens: all tokens trained on by this run of the process so far, prompts included.
        """
        now = time.monotonic()
        found = {"peak_memory_gib": peak_memory_bytes() / _GIB}
        if tokens is not None and now > self._last[0]:
            found.update(self._speed(tokens - self._last[1], now - self._last[0]))
            self._last = (now, tokens)
            if self._first is None:  # the first step is slower than all others
                self._first = self._last
            else:
                found_overall = self._speed(tokens - self._first[1], now - self._first[0])
                self.summary.update(found_overall)
        self.summary["peak_memory_gib"] = found["peak_memory_gib"]
        return found

    def _speed(self, tokens: float, seconds: float) -> dict[str, float]:
        rate = tokens / seconds
        found = {"tokens_per_second": rate}
        peak = peak_operations()
        if peak:
            found["mfu"] = rate * self._per_token / (peak * self._processes)
        return found


def operations_per_token(model: Any, config: Any, length: float) -> float:
    """Floating-point operations of one token's forward and backward pass in a sequence of `length` tokens.

    2 per weight forward, 2 for the gradients of what flows through it, 2 for its own gradient where it is trained; the
    input embedding is looked up, not multiplied. Causal attention: half of 4 x length x width per layer forward, twice
    that backward.
    """
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    untied = head is None or head.weight is not embedding
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]  # norms and biases are next to nothing
    trained = sum(weight.numel() for weight in matrices if weight.requires_grad)
    frozen = sum(_weights(weight) for weight in matrices if not weight.requires_grad)
    looked_up = embedding.numel() if untied else 0
    trained, frozen = (trained - looked_up, frozen) if embedding.requires_grad else (trained, frozen - looked_up)
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
    return float(6.0 * trained + 4.0 * frozen + 6.0 * text.num_hidden_layers * width * length)


def _weights(weight: Any) -> int:
    """Number of weights; two of four bits lie in one byte."""
    return int(weight.numel()) * (2 if type(weight).__name__ == "Params4bit" else 1)


def mean_length(rows: Sequence[dict[str, list[int]]]) -> float:
    """Tokens of the mean sequence; a pair is two of them."""
    lengths: list[int] = []
    for row in rows:
        if "input_ids" in row:
            lengths.append(len(row["input_ids"]))
        elif "chosen_ids" in row:
            lengths += [len(row["prompt_ids"]) + len(row[name]) for name in ("chosen_ids", "rejected_ids")]
        else:  # its answers are not there yet
            lengths.append(len(row["prompt_ids"]))
    return sum(lengths) / len(lengths)


def peak_operations() -> float | None:
    """bf16 operations per second of this process's device, where it is a known one."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in _PEAK_BF16.items() if part in name), None)


def peak_memory_bytes() -> int:
    """Most memory that tensors took on this process's device; without one, that the process took."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
