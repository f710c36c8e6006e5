"""The embedded starter: a small world of checkable prompts, its teacher, tokenizer and base model.

Importing this package loads no heavy library.
"""

from pathlib import Path


def base_model_dir() -> Path:
    """Folder of the shipped base model (safetensors, tokenizer, chat template, model card)."""
    return Path(__file__).parent / "base"
