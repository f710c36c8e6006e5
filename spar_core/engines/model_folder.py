"""Loading a causal language model and its tokenizer, with errors that name what is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from spar_core.engines.kv_cache import ATTENTION_NAME, ragged_attention
from spar_core.errors import EngineError

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


class LoadedModel(NamedTuple):
    """A model ready for `SlotBatch`.

    Fields:
        context: most tokens (prompt + answer) the model can attend to.
        bytes_per_position: key/value bytes of one token over all layers, at `cache_dtype`.
    """

    model: Any
    tokenizer: Any
    end_tokens: tuple[int, ...]
    context: int
    cache_dtype: torch.dtype
    bytes_per_position: int


def pick_device(device: str) -> torch.device:
    """The device named, or for "auto" the first GPU, else the CPU.

    Raises:
        EngineError: a GPU is asked for and there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise EngineError(
            f"device {device} is asked for, but this machine has no usable GPU: set device to auto or cpu"
        )
    return torch.device(device)


def load_model(folder: Path, device: torch.device, dtype: DtypeName) -> LoadedModel:
    """Load weights and tokenizer onto a device. "auto" is bfloat16 on a GPU and float32 on a CPU.

    Raises:
        EngineError: a file is unreadable, weights are missing or of another shape, or the architecture
            cannot be batched in process.
    """
    from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    AttentionInterface.register(ATTENTION_NAME, ragged_attention)
    disable_progress_bar()  # a bar per load would tear the progress display of a run
    chosen = (torch.bfloat16 if device.type == "cuda" else torch.float32) if dtype == "auto" else getattr(torch, dtype)
    tokenizer = _readable(folder, "tokenizer", lambda: AutoTokenizer.from_pretrained(folder))
    model, report = _readable(
        folder,
        "weights or config.json",
        lambda: AutoModelForCausalLM.from_pretrained(
            folder, dtype=chosen, attn_implementation=ATTENTION_NAME, output_loading_info=True
        ),
    )
    # transformers only warns and fills the gap with random numbers.
    gaps = sorted(report["missing_keys"]) + sorted(str(entry) for entry in report["mismatched_keys"])
    if gaps:
        raise EngineError(f"the weights in {folder} do not fit its config.json; missing or misshapen: {gaps[:3]}")
    if not model._supports_attention_backend:
        raise EngineError(
            f"{type(model).__name__} in {folder} does not take a custom attention function: serve it with engine "
            "kind 'vllm' or 'openai'"
        )
    model = model.to(device).eval()
    config = model.config.get_text_config()
    cache_dtype = torch.float32 if device.type == "cpu" else chosen
    return LoadedModel(
        model,
        tokenizer,
        _end_tokens(model, tokenizer),
        int(config.max_position_embeddings),
        cache_dtype,
        _bytes_per_position(config, cache_dtype),
    )


def _bytes_per_position(config: Any, dtype: torch.dtype) -> int:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * head_dim * dtype.itemsize)


def _end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id the generation configuration calls an end; without one, the model's, then the tokenizer's."""
    for found in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        if found is not None:
            return tuple(found) if isinstance(found, (list, tuple)) else (int(found),)
    return ()


def _readable(folder: Path, part: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # transformers raises a dozen unrelated types for a broken folder
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise EngineError(f"model folder {folder}: cannot read its {part} ({first_line})") from error
