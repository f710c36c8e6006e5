"""What one machine of a cluster says of itself before work is given to it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

import spar_core
import storage
from spar_core.hashing import digest, file_digest

_ANSWER_S = 10.0


class NodeView(NamedTuple):
    """What a machine sees. `prefect`: what keeps it from reaching Prefect's server; empty where nothing does."""

    sees_home: bool
    writes_home: bool
    code: str
    prefect: str


def look(probe: str, prefect_url: str | None) -> NodeView:
    """Look from this machine for a file in the home and for Prefect's server."""
    file = Path(probe)
    sees = file.is_file()
    return NodeView(sees, sees and os.access(file, os.W_OK), code_digest(), _unreachable(prefect_url))


def code_digest() -> str:
    """Of Python and of everything that stages are made of here: equal where equal inputs have equal artifacts."""
    folders = [Path(__file__).parent, *(Path(str(package.__file__)).parent for package in (spar_core, storage))]
    files = [(folder, file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    return digest(
        [sys.version_info[:2], [[str(file.relative_to(folder.parent)), file_digest(file)] for folder, file in files]]
    )


def problems(seen: NodeView, home: Path, prefect_url: str | None) -> Iterator[str]:
    """What keeps a machine from working for this process, each with its remedy."""
    if not seen.sees_home:
        yield f"it does not see the home {home}: put the home on a file system that all machines mount at that path"
    elif not seen.writes_home:
        yield f"it cannot write to the home {home}: let the user that runs Ray there do so"
    if seen.code != code_digest():
        yield "it has another version of spar or of Python: install the same on all machines"
    if seen.prefect:
        yield (
            f"it does not reach Prefect at {prefect_url} ({seen.prefect}): start `prefect server start --host 0.0.0.0` "
            "and export PREFECT_API_URL with an address that all machines reach"
        )


def _unreachable(url: str | None) -> str:
    if url is None:
        return ""
    try:
        answer = httpx.get(f"{url}/health", timeout=_ANSWER_S)
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer.is_success else f"HTTP {answer.status_code}"
