"""From what a user calls a model to its content digest and where it lies."""

import json
import logging
import re
import shutil
import tempfile
from pathlib import Path

from spar_core.engines.gguf import SOURCE_FILE, convert, source_of_file
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_reference import FORMS, STARTER, is_gguf, is_registered
from spar_core.engines.packaged import fetch, is_package, package_reference
from spar_core.errors import EngineError
from spar_core.hashing import digest, model_digest
from spar_core.starter import base_model_dir
from storage.disk import write_json
from storage.home import Home
from storage.temporary import put_in_place, remove_stale, temporary_beside
from tasks.engines import ModelRef

_log = logging.getLogger(__name__)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


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
    if is_gguf(reference) and not Path(reference).expanduser().is_dir():
        return local_model(converted_model(reference, home), home)
    return local_model(resolve_folder(reference).absolute(), home)


def converted_model(reference: str, home: Home) -> Path:
    """The folder of a model that comes as a GGUF file: fetched and converted the first time it is asked for.

    Raises:
        ConfigError: a package's reference is not in form.
        EngineError: there is no such file or package, or it cannot be read.
    """
    folder = converted_folder(reference, home)
    if (folder / SOURCE_FILE).is_file():
        return folder
    remove_stale(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = temporary_beside(folder)
    making.mkdir()
    try:
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as fetched:
            if is_package(reference):
                file, source = fetch(reference, Path(fetched))
            else:
                file = Path(reference).expanduser()
                source = source_of_file(reference, file)
            convert(file, making, source)
        put_in_place(making, folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    _log.info(
        "%s was converted into %s; its weights are those of %s", reference, folder, source.quantisation or "the file"
    )
    return folder


def converted_folder(reference: str, home: Home) -> Path:
    """Where a model that comes as a GGUF file lies once it is converted: known by the file's name, size and time.

    Raises:
        ConfigError: a package's reference is not in form.
        EngineError: there is no such file.
    """
    if is_package(reference):
        package = package_reference(reference)
        return home.models / _NOT_IN_NAMES.sub("-", "-".join(part for part in package if part))
    file = Path(reference).expanduser().absolute()
    try:
        facts = file.stat()
    except OSError as error:
        raise EngineError(f"model {reference!r}: no such file; give {FORMS}") from error
    return (
        home.models / f"{_NOT_IN_NAMES.sub('-', file.stem)}-{digest([file.name, facts.st_size, facts.st_mtime_ns])[:8]}"
    )


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
    content = model_digest(folder)
    write_json(known_file, known | {place: {"stamp": stamp, "digest": content}})
    return ModelRef(content, str(folder))
