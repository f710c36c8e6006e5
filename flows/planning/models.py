"""The models of a run that has not started: their shapes, and their identities where those are known already."""

import json
from pathlib import Path

from flows.checks.models import cached_folder
from flows.wiring.handovers import Models
from flows.wiring.models import ModelFinder, Served
from flows.wiring.request import Run
from spar_core.engines.model_reference import STARTER, is_gguf, is_registered, is_server, server_reference
from spar_core.errors import ConfigError, EngineError
from spar_core.hashing import digest, model_digest
from spar_core.planning import KNOWN, ModelShape
from spar_core.starter import base_model_dir
from storage.home import Home
from storage.ledger import Ledger
from tasks.engines import ModelRef
from tasks.models import converted_folder

UNKNOWN = "planned:"
"""How the digest of what is not there yet begins."""


class PlannedModels(ModelFinder):
    """Finds models without asking a server and without reading weights."""

    def served(self, reference: str) -> Served:
        """A model, by what is known of it without a look at the network or through gigabytes."""
        if is_server(reference):
            server = server_reference(reference)
            return Served(ModelRef(UNKNOWN + digest(reference), reference), server.engine(server.model or ""))
        return Served(known_model(reference, self._home), self._engine)

    def base(self, run: Run) -> Models:
        """What the run starts from; an alias counts as what it means now."""
        models = run.config.models
        actor, refiner = models.actor, models.refiner or models.actor
        return Models(known_model(actor, self._home), known_model(refiner, self._home))


def known_model(reference: str, home: Home) -> ModelRef:
    """A model by the digest that this home remembers; one that it never used has none, and no stage to reuse."""
    if reference == STARTER:
        return ModelRef(model_digest(base_model_dir()), str(base_model_dir()))
    folder = _folder(reference, home)
    known = None if folder is None else _remembered(folder, home)
    return ModelRef(known or UNKNOWN + digest(reference), reference if folder is None else str(folder))


def shape_of(reference: str, home: Home) -> ModelShape:
    """The shape of a model by its folder, else by the table of known models.

    Raises:
        ConfigError: neither tells it.
    """
    folder = base_model_dir() if reference == STARTER else _folder(reference, home)
    if folder is not None and (folder / "config.json").is_file():
        return ModelShape.of_folder(folder, reference)
    if reference in KNOWN:
        return KNOWN[reference]
    raise ConfigError(
        f"the shape of model {reference!r} is not known here: give a folder that holds its config.json (weights need "
        f"not be there), or one of {', '.join(KNOWN)}"
    )


def _folder(reference: str, home: Home) -> Path | None:
    path = Path(reference).expanduser()
    if path.is_dir():
        return path.absolute()
    if is_registered(reference):
        return _registered(reference, home)
    if is_gguf(reference):
        return _converted(reference, home)
    return cached_folder(reference) if reference.count("/") == 1 and reference[0] not in "/.~" else None


def _converted(reference: str, home: Home) -> Path | None:
    """The folder that a GGUF file, or a package that ships one, was converted into; None before that."""
    try:
        folder = converted_folder(reference, home)
    except EngineError:
        return None
    return folder if folder.is_dir() else None


def _registered(reference: str, home: Home) -> Path | None:
    """The folder of `actor/3`; of an alias that of the newest version, as all of a home are of one shape mostly."""
    name, _, number = reference.replace("@", "/").partition("/")
    versions = {entry.version: entry for entry in Ledger(home).models() if entry.name == name}
    entry = versions.get(int(number)) if number.isdigit() else versions.get(max(versions, default=0))
    return None if entry is None else home.located(entry.uri)


def _remembered(folder: Path, home: Home) -> str | None:
    """The digest that `tasks.models.local_model` noted when it read the folder, if its files are as they were."""
    try:
        known = json.loads((home.models / "digests.json").read_text(encoding="utf-8"))[home.stored(folder)]
    except (OSError, ValueError, LookupError):
        return None
    stamp = json.dumps(
        sorted([f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in folder.iterdir() if f.is_file())
    )
    return str(known["digest"]) if known["stamp"] == stamp else None
