"""Finding a complete model folder, without loading anything."""

from pathlib import Path

from spar_core.engines.model_reference import FORMS
from spar_core.errors import EngineError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
_HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def resolve_folder(model: str) -> Path:
    """The folder of a model: a path as it is, or a hub id through the local hub cache (downloaded if need be).

    Raises:
        EngineError: neither a folder nor a hub id that can be had; or the folder lacks a required file.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _from_hub(model)
    problems = []
    if not (folder / "config.json").is_file():
        problems.append("config.json")
    if not list(folder.glob("*.safetensors")):
        problems.append("weights (*.safetensors)")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        problems.append("a tokenizer (tokenizer.json)")
    if problems:
        raise EngineError(f"model folder {folder} lacks {', '.join(problems)}: name a complete model folder")
    return folder


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if model.startswith(("/", ".", "~")) or model.count("/") != 1:
        raise EngineError(f"model {model!r}: no such folder; give {FORMS}")
    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise EngineError(
            f"model {model!r} is neither a folder nor a hub model that can be downloaded here "
            f"({type(error).__name__}): check the spelling, the network and HF_TOKEN (or `hf auth login`), or download "
            "it and name the folder"
        ) from error
