"""What a model folder must hold before a training starts, and how the trained one is written."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from spar_core.errors import TrainingError

PROVENANCE = "training_provenance.json"
"""Outcome of the training inside the new folder; not part of a model's digest."""
MASTERS = "masters"
"""Folder of the fp32 weights beside the stored ones (`keep_masters`); not part of a model's digest."""
_HEADER_LENGTH_BYTES = 8  # a safetensors file starts with the length of its JSON header, little-endian
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".safetensors.index.json", ".bin.index.json")
_NOT_COPIED = ("trainer_state.json", "README.md", PROVENANCE)


def check_model_folder(folder: Path) -> None:
    """Find what a user can get wrong before seconds are spent on starting a process.

    Raises:
        TrainingError: missing folder or file, weights in another format, or a truncated or corrupt file.
    """
    if not folder.is_dir():
        raise TrainingError(f"Model folder {folder} does not exist; give the folder that holds config.json.")
    config = folder / "config.json"
    if not config.is_file():
        raise TrainingError(f"Model folder {folder} has no config.json; it is no model in the transformers format.")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{config} is no valid JSON ({error}); fetch the model again.") from error
    check_weights(folder)


def check_weights(folder: Path) -> None:
    """See that all weights of a folder are there in full.

    Raises:
        TrainingError: there are none, or a file is truncated or corrupt.
    """
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise TrainingError(f"Model folder {folder} has no .safetensors weights; convert the model to safetensors.")
    for shard in shards:
        _check_safetensors(shard)


def _check_safetensors(file: Path) -> None:
    size = file.stat().st_size
    try:
        header = read_header(file)
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        header_bytes = _header_length(file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{file} is no valid safetensors file ({error}); fetch or rebuild the model.") from error
    expected = _HEADER_LENGTH_BYTES + header_bytes + end
    if size != expected:
        raise TrainingError(f"{file} is damaged: {size} bytes instead of {expected}; fetch or rebuild the model.")


def tensor_files(folder: Path) -> dict[str, Path]:
    """Names of all stored tensors, in the order of their files, with the file that holds each."""
    return {
        name: file
        for file in sorted(folder.glob("*.safetensors"))
        for name in read_header(file)
        if name != "__metadata__"
    }


def read_header(file: Path) -> dict[str, Any]:
    """JSON header of a safetensors file: tensor name -> dtype, shape, data_offsets.

    Raises:
        ValueError: the file has no such header.
    """
    length = _header_length(file)
    with file.open("rb") as handle:
        handle.seek(_HEADER_LENGTH_BYTES)
        header = json.loads(handle.read(length))
    if not isinstance(header, dict):
        raise ValueError("header is no object")
    return header


def _header_length(file: Path) -> int:
    with file.open("rb") as handle:
        raw = handle.read(_HEADER_LENGTH_BYTES)
    length = int.from_bytes(raw, "little")
    if len(raw) < _HEADER_LENGTH_BYTES or not 2 <= length <= _MAX_HEADER_BYTES:
        raise ValueError("no header")
    return length


def copy_all_but_weights(source: Path, target: Path) -> None:
    """Configuration, tokenizer, chat template and generation settings, byte for byte.

    Training changes weights only; re-saving these files would change their bytes, and with them the model's identity.
    """
    for entry in sorted(source.iterdir()):
        if entry.is_file() and not entry.name.endswith(_WEIGHTS) and entry.name not in _NOT_COPIED:
            shutil.copyfile(entry, target / entry.name)


def publish(folder: Path, output: Path) -> None:
    """Give a complete folder its final name.

    Raises:
        TrainingError: the name is taken.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(folder, output)
    except OSError as error:
        raise TrainingError(f"Cannot move the trained model to {output}: {error}. Remove or rename it.") from error
