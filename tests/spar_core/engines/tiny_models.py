"""Tiny randomly initialised model folders of the architectures the engines must serve."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Glm4Config,
    GlmConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

PAD, END, USER, ASSISTANT, SYSTEM, UNKNOWN = range(6)
VOCABULARY = 120
CONTEXT = 96

TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
NO_SYSTEM_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": PAD,
    "eos_token_id": END,
    "bos_token_id": None,
}
CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=12),
    "glm": lambda: GlmConfig(**_SIZES),
    "glm4": lambda: Glm4Config(**_SIZES),
    "qwen2": lambda: Qwen2Config(**_SIZES),
}


def write_model(folder: Path, architecture: str = "llama", template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """Save a random model whose weights are scaled so that its answers vary and end now and then."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    write_tokenizer(folder, template)
    return folder


def write_tokenizer(folder: Path, template: str | None = TEMPLATE) -> None:
    """A word-level tokenizer over the words w6, w7, ..."""
    words = ["<pad>", "<end>", "<user>", "<assistant>", "<system>", "<unk>", *(f"w{i}" for i in range(6, VOCABULARY))]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>", "<system>"],
        chat_template=template,
    )
    tokenizer.save_pretrained(folder)
