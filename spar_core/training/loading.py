"""The starting model of a training, whole or shared out, and its tokenizer."""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig

from spar_core.config.training import GrpoTrainingConfig, OptimisationConfig
from spar_core.errors import TrainingError
from spar_core.training.arguments import computes_in_bf16
from spar_core.training.sharding import empty_model
from spar_core.training.specification import TrainingSpec


class ModelFacts(NamedTuple):
    """What is known of a model before its weights are loaded."""

    config: Any
    stop_ids: frozenset[int]
    context: int | None


def read_facts(folder: Path) -> ModelFacts:
    """Configuration of a model folder, and the ids at which generation with it stops.

    Raises:
        TrainingError: its configuration cannot be read.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        named = (folder / "generation_config.json").is_file()
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True) if named else None
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"Cannot load the model in {folder}: {error}") from error
    found: set[int] = set()
    for holder in (generation, config):
        value = getattr(holder, "eos_token_id", None)
        found.update([value] if isinstance(value, int) else value or [])
    return ModelFacts(config, frozenset(found), getattr(config, "max_position_embeddings", None))


def load_tokenizer(folder: Path) -> Any:
    """Tokenizer of a model folder, right-padded.

    Raises:
        TrainingError: it cannot be loaded.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"Cannot load the tokenizer in {folder}: {error}. The folder needs tokenizer.json and "
            "tokenizer_config.json."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked out, its id has no effect
    return tokenizer


def check_packages(config: OptimisationConfig) -> None:
    """Say which package an option needs, before anything is loaded.

    Raises:
        TrainingError: it is not installed, or there is no device for it.
    """
    quantised = config.optimizer != "adamw" or (config.lora is not None and config.lora.base_bits == 4)
    if quantised and importlib.util.find_spec("bitsandbytes") is None:
        raise TrainingError(
            "8-bit optimisers and 4-bit weights come from bitsandbytes: pip install 'spar[quantised]', or leave "
            "`optimizer` and `lora.base_bits` at their defaults."
        )
    by_vllm = isinstance(config, GrpoTrainingConfig) and config.generation == "vllm"
    if by_vllm and importlib.util.find_spec("vllm") is None:
        raise TrainingError(
            "training.grpo.generation: vllm draws answers inside the training, so vllm must be installed in this very "
            "environment (the vLLM servers of runs have one of their own); or take `transformers`."
        )
    if config.attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise TrainingError("attention: flash_attention_2 needs the package flash-attn; install it, or take `auto`.")


def load_model(spec: TrainingSpec, facts: ModelFacts) -> Any:
    """Model with fp32 weights (mixed precision casts inside the forward pass); frozen LoRA bases in `lora.base_bits`.

    Where the training shards, it comes without weights (`sharding.shard` fills it).

    Raises:
        TrainingError: configuration or weights cannot be loaded.
    """
    lora, attention = spec.config.lora, None if spec.config.attention == "auto" else spec.config.attention
    dtype = _base_dtype(spec)
    try:
        if spec.launch.shards:
            return empty_model(facts.config, dtype, attention)
        model, report = AutoModelForCausalLM.from_pretrained(
            spec.weights_folder,
            config=facts.config,
            dtype=dtype,
            attn_implementation=attention,
            quantization_config=_nf4() if lora is not None and lora.base_bits == 4 else None,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingError(f"Cannot load the model in {spec.model_folder}: {error}") from error
    if report["missing_keys"]:
        raise TrainingError(
            f"The weights in {spec.model_folder} lack {sorted(report['missing_keys'])[:3]}; they do not belong to its "
            "config.json. Fetch or rebuild the model."
        )
    return model


def _base_dtype(spec: TrainingSpec) -> torch.dtype:
    if spec.config.lora is None:
        return torch.float32
    return torch.bfloat16 if spec.config.lora.base_bits or computes_in_bf16(spec) else torch.float32


def _nf4() -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
