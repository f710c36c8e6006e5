"""From what a user calls a model to its content digest and where it lies."""

import json
import re
from pathlib import Path

from spar_core.errors import EngineError
from spar_core.hashing import model_digest
from spar_core.starter import base_model_dir
from storage.disk import write_json
from storage.home import Home
from tasks.engines import ModelRef

REGISTERED = re.compile(r"(actor|refiner)(@[A-Za-z0-9_-]+|/\d+)")


def resolve_model(reference: str, home: Home) -> ModelRef:
    """`starter`, a folder, a registry name (`actor@champion`, `refiner/3`) or a hub id.

    Raises:
        EngineError: no such folder, registered model or hub repository; the message lists the forms.
    """
    if reference == "starter":
        return local_model(base_model_dir(), home)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return local_model(folder.absolute(), home)
    if REGISTERED.fullmatch(reference):
        from storage.registry import Registry

        return local_model(Path(Registry(home).resolve(reference).path), home)
    if folder.is_absolute() or reference.startswith((".", "~")) or reference.count("/") != 1:
        raise EngineError(
            f"model {reference!r}: no such folder; give a model folder, `starter`, a registry name "
            "such as actor@champion, or a hub id such as organisation/name"
        )
    return local_model(_downloaded(reference), home)


def local_model(folder: Path, home: Home) -> ModelRef:
    """The model in a folder. Its digest is remembered by file sizes and times, as hashing 16 GB takes minutes.

    Raises:
        EngineError: the folder holds no safetensors weights or no configuration.
    """
    for needed in ("config.json", "*.safetensors"):
        if not any(folder.glob(needed)):
            raise EngineError(f"model folder {folder} holds no {needed}; give a folder saved by `save_pretrained`")
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


def _downloaded(reference: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(reference, ignore_patterns=["*.bin", "*.pth", "*.gguf", "original/*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise EngineError(
            f"model {reference!r} is neither a folder nor reachable on the hub ({type(error).__name__}); "
            "check the name, log in for gated models (`hf auth login`), or give a local folder"
        ) from error
