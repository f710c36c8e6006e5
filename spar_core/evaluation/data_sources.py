"""Where a benchmark's data lies: a local folder, or a download from the hub kept for the next time.

A local folder is laid out as `ifeval/input_data.jsonl`, `ifbench/IFBench_test.jsonl`, `followbench/data` and
`followbench/data_zh`, `llmbar/Natural` and `llmbar/Adversarial`. What differs from the published data is used, with
a warning: its scores are not comparable.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from spar_core.errors import DataError
from spar_core.evaluation import ifbench, ifeval
from spar_core.evaluation.followbench.dataset import LICENCE as FOLLOWBENCH_LICENCE
from spar_core.evaluation.hub import fetch
from spar_core.evaluation.ifeval_rows import PromptSet
from spar_core.evaluation.llmbar.dataset import LICENCE as LLMBAR_LICENCE
from spar_core.hashing import digest

Benchmark = Literal["ifeval", "ifbench", "followbench", "llmbar"]

DATA_VARIABLE = "SPAR_DATA_DIR"


class Source(NamedTuple):
    """One benchmark's data. `places` are paths below the data folder, the first that exists counts."""

    licence: str
    places: tuple[Path, ...]
    sha256: str = ""
    content: str = ""
    """Digest of what the rows say: the hub's copy has other bytes than the published file."""


SOURCES: Mapping[Benchmark, Source] = {
    "ifeval": Source(
        ifeval.LICENCE,
        (ifeval.DATA_FILE,),
        ifeval.DATA_SHA256,
        "3c4bd6c40decdb36c8fe033ff1af240b",
    ),
    "ifbench": Source(
        ifbench.LICENCE,
        (ifbench.DATA_FILE,),
        ifbench.DATA_SHA256,
        "4cb784b121412af366ef927514f1bbbf",
    ),
    "followbench": Source(FOLLOWBENCH_LICENCE, (Path("followbench"),)),
    "llmbar": Source(LLMBAR_LICENCE, (Path("llmbar", "Dataset", "LLMBar"), Path("llmbar"))),
}


def find_data(benchmark: Benchmark, data_dir: Path | None = None) -> Path:
    """The benchmark's prompt file (IFEval, IFBench) or folder (FollowBench, LLMBar).

    Looked for in `data_dir`, else in the folder `$SPAR_DATA_DIR` names, else among earlier downloads, else on the hub.

    Raises:
        DataError: it is not in the named folder, or the hub cannot be reached; the message says what to give.
    """
    found = local_data(benchmark, data_dir)
    if found is None:
        fetch(benchmark, _downloads())
        found = _in_folder(benchmark, _downloads())
    assert found is not None
    return found


def local_data(benchmark: Benchmark, data_dir: Path | None = None) -> Path | None:
    """Like `find_data`, but None where it would have to be fetched.

    Raises:
        DataError: it is not in the named folder.
    """
    named = data_dir or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    found = _in_folder(benchmark, named or _downloads())
    if found is None and named is not None:
        raise DataError(f"{named} holds no {SOURCES[benchmark].places[-1]}; --data-dir is the folder above it")
    return found


def prompts_warning(benchmark: Benchmark, prompts: PromptSet) -> str:
    """What to say of prompts that are not the published ones; empty where they are."""
    source = SOURCES[benchmark]
    if prompts.digest == source.sha256 or prompt_content(prompts) == source.content:
        return ""
    return f"the prompts are not the published ones of {benchmark}; scores are not comparable with published figures"


def prompt_content(prompts: PromptSet) -> str:
    """Digest of keys, texts and instructions, whatever file they came from."""
    return digest([[str(p.key), p.text, [[i.kind, i.kwargs] for i in p.instructions]] for p in prompts.prompts])


def _in_folder(benchmark: Benchmark, folder: Path) -> Path | None:
    return next((folder / place for place in SOURCES[benchmark].places if (folder / place).exists()), None)


def _downloads() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spar" / "benchmarks"
