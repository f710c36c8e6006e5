"""Tiny randomly initialised models of the architectures that the presets train, with their chat formats."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Glm4Config,
    Glm4ForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

CHARACTERS = "abcdefghijklmnopqrstuvwxyz ?.[]\n"

LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}</s>{% endif %}"
    "{% endfor %}"
)
GLM4_TEMPLATE = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

CHATML_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

FORMATS: dict[str, dict[str, Any]] = {
    "llama": {
        "model": (LlamaConfig, LlamaForCausalLM),
        "template": LLAMA3_TEMPLATE,
        "special": ["<|bot|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
        "bos": "<|bot|>",
        "eos": "<|eot_id|>",
        "stop": ["<|eot_id|>"],
    },
    "mistral": {
        "model": (MistralConfig, MistralForCausalLM),
        "template": MISTRAL_TEMPLATE,
        "special": ["<s>", "</s>", "[INST]", "[/INST]"],
        "bos": "<s>",
        "eos": "</s>",
        "stop": ["</s>"],
    },
    "glm": {
        "model": (GlmConfig, GlmForCausalLM),
        "template": GLM4_TEMPLATE,
        "special": ["[gMASK]", "<sop>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"],
        "bos": None,
        "eos": "<|endoftext|>",
        "stop": ["<|endoftext|>", "<|user|>"],
    },
}
FORMATS["chatml"] = {
    **FORMATS["llama"],
    "template": CHATML_TEMPLATE,
    "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "bos": None,
    "eos": "<|im_end|>",
    "stop": ["<|im_end|>", "<|endoftext|>"],
}
FORMATS["glm4"] = {**FORMATS["glm"], "model": (Glm4Config, Glm4ForCausalLM)}


def tiny_tokenizer(kind: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """One token per character, special tokens as the chat format has them."""
    style = FORMATS[kind]
    vocabulary = {piece: index for index, piece in enumerate([*style["special"], *CHARACTERS, "<unk>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(style["special"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=style["bos"], eos_token=style["eos"])
    fast.chat_template = style["template"] if template is None else template
    return fast


def save_tiny_model(
    folder: Path, kind: str = "llama", *, tied: bool = False, dtype: torch.dtype = torch.float32
) -> Path:
    """Model, tokenizer and generation settings in `folder`."""
    style = FORMATS[kind]
    tokenizer = tiny_tokenizer(kind)
    config_class, model_class = style["model"]
    torch.manual_seed(7)
    stop = tokenizer.convert_tokens_to_ids(style["stop"])
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        pad_token_id=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stop,
        initializer_range=0.3,
    )
    model = model_class(config).to(dtype)
    model.generation_config.eos_token_id = stop
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
