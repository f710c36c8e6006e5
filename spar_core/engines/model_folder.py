"""Loading a causal language model and its tokenizer, with errors that name what is missing."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch

from spar_core.engines.kv_cache import ATTENTION_NAME, DecodeStep, SlotCache, Stretch, ragged_attention
from spar_core.engines.packed_linear import pack
from spar_core.errors import EngineError
from spar_core.processors import SLOW_BF16, computes_bfloat16

_LOG = logging.getLogger(__name__)
_ATTENTIONS = {"full_attention", "sliding_attention"}
_PROBED = "spar-end-of-turn"

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


def pick_dtype(dtype: DtypeName, device: torch.device) -> torch.dtype:
    """The type named, or for "auto" bfloat16 on a GPU and float32 on a CPU."""
    if dtype != "auto":
        return cast("torch.dtype", getattr(torch, dtype))
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_model(folder: Path, device: torch.device, dtype: DtypeName) -> LoadedModel:
    """Load weights and tokenizer onto a device. "auto" is bfloat16 on a GPU and float32 on a CPU.

    Raises:
        EngineError: a file is unreadable, weights are missing or of another shape, or the architecture
            cannot be batched in process (soft-capping, sinks, chunks, a state instead of keys and values).
    """
    from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    AttentionInterface.register(ATTENTION_NAME, ragged_attention)
    disable_progress_bar()  # a bar per load would tear the progress display of a run
    chosen = pick_dtype(dtype, device)
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
    if device.type == "cpu" and chosen is torch.bfloat16 and not computes_bfloat16():
        _LOG.warning(SLOW_BF16.format(setting="engine.dtype"))
    model = _on_device(model, device, folder).eval()
    if device.type == "cpu":
        pack(model)
    config = model.config.get_text_config()
    cache_dtype = torch.float32 if device.type == "cpu" else chosen
    _check_attention(model, cache_dtype, folder)
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


def _on_device(model: Any, device: torch.device, folder: Path) -> Any:
    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info(device)
        raise EngineError(
            f"model folder {folder}: its weights do not fit into the {free / 2**30:.1f} GiB that are free of the "
            f"{total / 2**30:.1f} GiB of {device}: end what else uses it (`nvidia-smi`), or take a smaller model"
        ) from error


def _check_attention(model: Any, dtype: torch.dtype, folder: Path) -> None:
    """Compute two tokens as the engine will: what the model's attention lacks shows now, not in mid-stage."""
    refused = "serve it with engine kind 'vllm' or 'openai'"
    layers = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if layers - _ATTENTIONS:
        raise EngineError(
            f"{type(model).__name__} in {folder} has layers of kind {sorted(layers - _ATTENTIONS)}, which the "
            f"in-process engine does not compute: {refused}"
        )
    cache = SlotCache(dtype)
    cache.reserve(1, 2)
    tokens = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    step = DecodeStep(torch.ones(1, dtype=torch.long, device=model.device), [Stretch(0, 1, 2)], dtype)
    try:
        with torch.inference_mode():
            cache.begin_prefill(tokens[0], tokens[0])
            model.base_model(input_ids=tokens, position_ids=tokens, past_key_values=cache, use_cache=True)
            cache.begin_decode(step)
            model(
                input_ids=tokens,
                position_ids=step.positions[:, None],
                past_key_values=cache,
                use_cache=True,
                ragged_step=step,
            )
    except torch.OutOfMemoryError as error:
        raise EngineError(f"model folder {folder}: its weights leave no memory to compute with: {error}") from error
    except EngineError as error:
        raise EngineError(f"model folder {folder}: {error}") from error
    except Exception as error:
        raise EngineError(
            f"{type(model).__name__} in {folder} cannot be batched in process "
            f"({type(error).__name__}: {error}): {refused}"
        ) from error
    if "sliding_attention" in layers and step.windows <= {None}:
        raise EngineError(
            f"{type(model).__name__} in {folder} hides its sliding window from the attention function, so the "
            f"in-process engine would let it see too much: {refused}"
        )


def _end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id that ends an answer, in ascending order.

    Those of the generation configuration and of the tokenizer, and what the chat template writes after an answer: a
    chat model made from a base model often keeps the base's generation configuration. Without any, the model's own.
    """
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, tokenizer.eos_token_id, _end_of_turn(tokenizer)):
        found.update([] if ids is None else ids if isinstance(ids, (list, tuple)) else [ids])
    if not found and model.config.eos_token_id is not None:
        ids = model.config.eos_token_id
        found.update(ids if isinstance(ids, (list, tuple)) else [ids])
    return tuple(sorted(found))


def ending_as(loaded: LoadedModel, template: str) -> LoadedModel:
    """The model whose answers also end as another chat template than its own ends them."""
    token = _end_of_turn(loaded.tokenizer, template)
    ends = set(loaded.end_tokens) | (set() if token is None else {token})
    return loaded._replace(end_tokens=tuple(sorted(ends)))


def _end_of_turn(tokenizer: Any, template: str | None = None) -> int | None:
    """The special token that the chat template writes right after a finished answer, if it does; null: its own.

    Not the token that opens an answer: some templates always end with an invitation to write the next one.
    """
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBED}]
    try:
        before, found, after = _written(tokenizer, turns, template).rpartition(_PROBED)
    except Exception:  # noqa: BLE001 - templates raise whatever they like; the chat format says what is wrong
        return None
    following = tokenizer.encode(after.lstrip(), add_special_tokens=False) if found else []
    special = set(tokenizer.all_special_ids)
    special.update(place for place, token in tokenizer.added_tokens_decoder.items() if token.special)
    opening = [token for token in tokenizer.encode(before, add_special_tokens=False) if token in special]
    if not following or following[0] not in special or following[0] in opening[-1:]:
        return None
    return int(following[0])


def _written(tokenizer: Any, turns: list[dict[str, str]], template: str | None) -> str:
    text: str = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    return text


def _readable(folder: Path, part: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # transformers raises a dozen unrelated types for a broken folder
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise EngineError(f"model folder {folder}: cannot read its {part} ({first_line})") from error
