"""Where a benchmark's data lies: a local folder, or a download from the hub kept for the next time.

A local folder is laid out as `ifeval/input_data.jsonl`, `ifbench/IFBench_test.jsonl`, `multi_if/multiIF_20241018.csv`,
`m_ifeval/fr_input_data.jsonl`, `followbench/data` and `followbench/data_zh`, `llmbar/Natural` and `llmbar/Adversarial`.
What differs from the published data is used, with a warning: its scores are not comparable.
"""

import os
from pathlib import Path
from typing import NamedTuple

from spar_core.errors import DataError
from spar_core.evaluation.hub import HubFile, fetch

DATA_VARIABLE = "SPAR_DATA_DIR"


class Source(NamedTuple):
    """One benchmark's data. `places` are paths below the data folder, the first that exists counts."""

    licence: str
    places: tuple[Path, ...]
    hub: tuple[HubFile, ...] = ()
    """What to load from the hub; empty where it is not there."""


def find_data(name: str, source: Source, data_dir: Path | None = None) -> Path:
    """The file or folder of a benchmark's data.

    Looked for in `data_dir`, else in the folder `$SPAR_DATA_DIR` names, else among earlier downloads, else on the hub.

    Raises:
        DataError: it is not in the named folder, or the hub cannot be reached; the message says what to give.
    """
    found = local_data(source, data_dir)
    if found is None and not source.hub:
        raise DataError(
            f"the data of {name} is not on the hub; give the folder that holds {source.places[-1]}: --data-dir"
        )
    if found is None:
        fetch(name, source.hub, _downloads())
        found = _in_folder(source, _downloads())
    assert found is not None
    return found


def local_data(source: Source, data_dir: Path | None = None) -> Path | None:
    """Like `find_data`, but None where it would have to be fetched.

    Raises:
        DataError: it is not in the named folder.
    """
    named = data_dir or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    found = _in_folder(source, named or _downloads())
    if found is None and named is not None:
        raise DataError(f"{named} holds no {source.places[-1]}; --data-dir is the folder above it")
    return found


def _in_folder(source: Source, folder: Path) -> Path | None:
    return next((folder / place for place in source.places if (folder / place).exists()), None)


def _downloads() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spar" / "benchmarks"
