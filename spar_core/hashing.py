"""Content hashes, record ids and derived seeds: the only sources of identity and randomness."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ID_HEX_DIGITS = 32
_SEED_BITS = 31  # vLLM and numpy accept seeds below 2**31 everywhere
SEEDS = 2**_SEED_BITS
"""How many seeds there are."""
_IDENTITY_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
_NOT_IDENTITY = ("trainer_state.json", "training_provenance.json")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; dataclasses and tuples become plain objects and lists."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(value: Any) -> str:
    """Hex digest (32 digits of SHA-256) of any JSON-like value."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX_DIGITS]


def content_id(kind: str, *parts: Any) -> str:
    """Id of a record: a hash of its kind and the parts that identify it."""
    return digest([kind, *parts])


def derive_seed(run_seed: int, stage: str, record_id: str, attempt: int = 0) -> int:
    """Seed in [0, 2**31) from what the draw is for, never from time or order."""
    raw = hashlib.sha256(f"{run_seed}\x1f{stage}\x1f{record_id}\x1f{attempt}".encode()).digest()
    return int.from_bytes(raw[:8], "big") >> (64 - _SEED_BITS)


def file_digest(path: Path) -> str:
    """Full SHA-256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def model_digest(folder: Path) -> str:
    """Digest of what decides a model's output: weights, configuration, tokenizer and chat template.

    Trainer leftovers (optimizer, RNG state, logs) and the folder's name play no part.
    """
    files = sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_file() and entry.suffix in _IDENTITY_SUFFIXES and entry.name not in _NOT_IDENTITY
    )
    return digest([[entry.name, file_digest(entry)] for entry in files])


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")
