"""Benchmarks from the hub by name, through `datasets`, kept in the layout of a local data folder.

IFEval, IFBench and Multi-IF are one split each. FollowBench is one JSON file per language and category. LLMBar's entry
on the hub is a loading script, which `datasets` no longer runs; it only names the files of the authors' repository, so
those are loaded, and so are those of M-IFEval, which is not on the hub. What comes back is checked by what it says
(`Loaded.warning`), since its bytes differ.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.errors import DataError

_SPLIT = "train"


class HubFile(NamedTuple):
    """One split to load: the dataset's name, the data file if it has several, and where it belongs below the folder."""

    place: str
    dataset: str
    data_file: str | None = None


def fetch(benchmark: str, files: Iterable[HubFile], folder: Path) -> None:
    """Load a benchmark into `folder / benchmark`, which appears only when complete.

    Raises:
        DataError: it cannot be loaded; the message says what to give instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{benchmark}.") as partial:
        for file in files:
            path = Path(partial, file.place)
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = _rows(file)
            text = _lines(rows) if path.suffix == ".jsonl" else json.dumps(rows, ensure_ascii=False)
            path.write_text(text, encoding="utf-8")
        shutil.rmtree(folder / benchmark, ignore_errors=True)
        Path(partial, benchmark).rename(folder / benchmark)


def _rows(file: HubFile) -> list[dict[str, Any]]:
    try:
        from datasets import load_dataset

        return [dict(row) for row in load_dataset(file.dataset, data_files=file.data_file, split=_SPLIT)]
    except Exception as error:  # every layer below has its own way to say that it has no network
        raise DataError(
            f"{file.data_file or file.dataset} cannot be loaded ({type(error).__name__}); give a folder that holds the "
            "data: --data-dir DIR, or the environment variable SPAR_DATA_DIR"
        ) from error


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(chain.from_iterable((json.dumps(row, ensure_ascii=False), "\n") for row in rows))
