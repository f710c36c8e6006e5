"""The LLMBar instances: an instruction, two outputs, and which of them follows it better."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from spar_core.errors import DataError
from spar_core.hashing import digest, file_digest

Subset = Literal["Natural", "Adversarial/Neighbor", "Adversarial/GPTInst", "Adversarial/GPTOut", "Adversarial/Manual"]
Winner = Literal["1", "2"]

SUBSETS: tuple[Subset, ...] = get_args(Subset)
ADVERSARIAL: tuple[Subset, ...] = SUBSETS[1:]
LICENCE = "LLMBar data: MIT, Copyright (c) 2023 Princeton Natural Language Processing"

# Digest over the sorted (subset, file SHA-256) pairs of the published files.
_PUBLISHED = "692f9939d7bb062f353c9d9eb53d6d9d"


@dataclass(frozen=True, slots=True)
class Instance:
    """One comparison; `label` names the better output, `index` is its 0-based position in the subset's file."""

    subset: Subset
    index: int
    instruction: str
    output_1: str
    output_2: str
    label: Winner

    @property
    def item_id(self) -> str:
        """Readable identity, unique over the subsets."""
        return f"{self.subset}/{self.index}"


@dataclass(frozen=True, slots=True)
class LLMBar:
    """All instances by subset, in file order; `is_published` is false where a file differs from the published one."""

    subsets: Mapping[Subset, tuple[Instance, ...]]
    data_digest: str
    is_published: bool

    def instances(self) -> tuple[Instance, ...]:
        """Every instance, subset after subset."""
        return tuple(instance for rows in self.subsets.values() for instance in rows)


def load_llmbar(data_dir: Path) -> LLMBar:
    """Read the five subsets from a folder laid out as published (`Natural/dataset.json`, `Adversarial/*/dataset.json`).

    Raises:
        DataError: a file is missing or malformed.
    """
    subsets: dict[Subset, tuple[Instance, ...]] = {}
    digests: list[list[str]] = []
    for subset in SUBSETS:
        path = data_dir / subset / "dataset.json"
        subsets[subset] = tuple(_instance(row, subset, index, path) for index, row in enumerate(_read(path)))
        digests.append([subset, file_digest(path)])
    data_digest = digest(sorted(digests))
    return LLMBar(subsets, data_digest, data_digest == _PUBLISHED)


def _read(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; the data folder must hold LLMBar's 'Natural' and 'Adversarial'") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: the file must hold a list of rows")
    return rows


def _instance(row: Any, subset: Subset, index: int, path: Path) -> Instance:
    try:
        label = {1: "1", 2: "2"}[row["label"]]
        texts = (str(row["input"]), str(row["output_1"]), str(row["output_2"]))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}, row {index}: needs input, output_1, output_2 and label 1 or 2 ({error!r})") from error
    return Instance(subset, index, *texts, "1" if label == "1" else "2")
