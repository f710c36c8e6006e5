"""From what a user calls a model to its content digest and where it lies."""

import json
from pathlib import Path

from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_reference import STARTER, is_registered
from spar_core.hashing import model_digest
from spar_core.starter import base_model_dir
from storage.disk import write_json
from storage.home import Home
from tasks.engines import ModelRef


def resolve_model(reference: str, home: Home) -> ModelRef:
    """A model whose weights are here, or on the hub (see `spar_core.engines.model_reference`).

    Raises:
        EngineError: no such folder, registered model or hub repository; the message lists the forms.
    """
    if reference == STARTER:
        return local_model(base_model_dir(), home)
    if is_registered(reference) and not Path(reference).is_dir():
        from storage.registry import Registry

        return local_model(Path(Registry(home).resolve(reference).path), home)
    return local_model(resolve_folder(reference).absolute(), home)


def local_model(folder: Path, home: Home) -> ModelRef:
    """The model in a folder. Its digest is remembered by file sizes and times, as hashing 16 GB takes minutes.

    Raises:
        EngineError: the folder lacks weights, configuration or tokenizer.
    """
    resolve_folder(str(folder))
    known_file = home.models / "digests.json"
    stamp = json.dumps(
        sorted([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in folder.iterdir() if f.is_file())
    )
    try:
        known = json.loads(known_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    place = home.stored(folder)
    entry = known.get(place)
    if entry and entry["stamp"] == stamp:
        return ModelRef(entry["digest"], str(folder))
    digest = model_digest(folder)
    write_json(known_file, known | {place: {"stamp": stamp, "digest": digest}})
    return ModelRef(digest, str(folder))
