"""Chat templates that behave as those of model families do (roles, thinking switch, dates), and tiny models with them.

The templates are written for the tests.
"""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# Thinks unless told not to: then the prompt holds an empty thought. Earlier thoughts are left out, the last answer gets
# one, empty where it has none.
QWEN3 = """
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- set parts = m.content.split('</think>') %}
{%- set thought = parts[0].split('<think>')[-1].strip() if parts|length > 1 else '' %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.last %}{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}{%- endif %}
{{- parts[-1].lstrip('\\n') + '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
# Always thinks: the prompt opens the thought, and finished answers are written without any.
R1 = """
{%- for m in messages %}
{%- if m.role == 'assistant' %}{{- '<|im_start|>assistant\\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}
{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"""
# The same, but finished answers get an empty thought as the prompt opens one.
QWEN3_THINKING = QWEN3.replace(
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
    "{{- '<think>\\n' }}",
)
# The newline behind the role belongs to the answer; the next role ends it.
GLM4 = """[gMASK]<sop>
{%- for m in messages %}{{- '<|' + m.role + '|>\\n' + m.content }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"""
# Tells the model today's date in a system turn of its own.
LLAMA32 = """
{%- if not date_string is defined %}
{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}
{%- else %}{%- set date_string = "1 Jan 2024" %}{%- endif %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' + date_string + '\\n\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- endif %}
{{- '<|eot_id|>' }}
{%- for m in messages if m.role != 'system' %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content|trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
# Knows no system role, and calls the assistant a model.
GEMMA2 = """
{%- if messages[0].role == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant') }}{%- endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content|trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""

TEMPLATES = {
    "qwen3": QWEN3,
    "qwen3-thinking": QWEN3_THINKING,
    "r1": R1,
    "glm4": GLM4,
    "llama32": LLAMA32,
    "gemma2": GEMMA2,
}
_END = {"glm4": "<|user|>", "llama32": "<|eot_id|>", "gemma2": "<end_of_turn>"}
_SPECIAL = ["<end>", "<|im_start|>", "<|im_end|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"]
_SPECIAL += ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>"]
_SPECIAL += ["[THINK]", "[/THINK]"]  # as Magistral's, which plain decoding leaves out; the ones below it keeps
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz ?.,:<>/\nAJST0123456789"


def family_tokenizer(family: str, *, shows_all: bool = False) -> PreTrainedTokenizerFast:
    """One token per character, and one for each thought tag, with the family's template and end of turn.

    `shows_all`: decoding leaves out no token but the end of turn.
    """
    vocabulary = {piece: index for index, piece in enumerate([*_SPECIAL, *_CHARACTERS, "<think>", "</think>", "<unk>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    (tokenizer.add_tokens if shows_all else tokenizer.add_special_tokens)(_SPECIAL)
    tokenizer.add_tokens(["<think>", "</think>"])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END.get(family, "<|im_end|>"), unk_token="<unk>"
    )
    fast.chat_template = TEMPLATES[family]
    return fast


def save_family_model(folder: Path, family: str, *, shows_all: bool = False) -> Path:
    """A tiny random Llama with the family's tokenizer, its weights scaled so that answers vary."""
    tokenizer = family_tokenizer(family, shows_all=shows_all)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=256,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
