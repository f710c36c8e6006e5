"""From a preset or file plus `--set key=value` to a validated `RunConfig`."""

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spar_core.config.run import RunConfig
from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.errors import ConfigError
from spar_core.secrets import redacted, refuse_literals

_PACKAGE = "spar_core.config"
# So that keys of the default engine can be given without its kind.
_DEFAULT_KINDS = {"engine": {"kind": TransformersEngineConfig().kind}}
_NO_PATH = re.compile(r"[^\w.]")
_MAY_BE_SECRET = frozenset(("env", "environment", "extra_body", "extra_args", "base_urls", "api_key_env"))


def preset_names() -> list[str]:
    """Names accepted by `--preset` (files that begin with `_` only hold what presets share)."""
    folder = resources.files(_PACKAGE) / "presets"
    names = (entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def load_config(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    iterations: int | None = None,
    base: RunConfig | None = None,
) -> RunConfig:
    """Merge, lowest first: defaults, profile, preset or file, overrides.

    Args:
        preset: a name of `preset_names()`; `starter` when no file is given either.
        file: YAML in the shape of `RunConfig`. `extends` names the preset it builds on; `preset` is then a name of its
            own. Without `extends` a `preset` that is shipped is built on.
        overrides: `key.path=value` strings, values read as YAML.
        iterations: shorthand for `iterations=N`.
        base: start from these values instead of a preset or file.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    if base is not None:
        return build_config(_merge_all(base.model_dump(mode="json"), overrides))
    given: dict[str, Any] = {}
    if file is not None:
        given = _read_yaml(file)
        preset = _base_of(file, given, preset)
    elif preset is None:
        preset = "starter"
    layers = {"preset": preset, **_shipped_preset(preset)} if preset else {}
    layers = _merge_all(_merge(_merge(_DEFAULT_KINDS, layers), given), overrides)
    if iterations is not None:
        layers = _merge(layers, {"iterations": iterations})
    return build_config(layers)


def _base_of(file: Path, given: dict[str, Any], preset: str | None) -> str | None:
    """The preset that a file builds on, whose `extends` is taken out."""
    extended, named = given.pop("extends", None), given.get("preset")
    if preset is not None and extended is not None:
        raise ConfigError(f"{file} extends {extended!r}, and --preset says {preset!r}: leave one of them out")
    return preset or extended or (named if named in preset_names() else None)


def _shipped_preset(name: Any) -> dict[str, Any]:
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}; allowed: {', '.join(preset_names())}")
    return _preset(name)


def build_config(values: Mapping[str, Any]) -> RunConfig:
    """Validate plain values; the chosen profile's values lie below them.

    Raises:
        ConfigError: one line per problem, naming key, value and what is allowed.
    """
    profile = values.get("profile", "ours")
    base = _shipped("profiles", profile) if profile == "paper" else {}
    try:
        return RunConfig.model_validate(_merge(base, values))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _merge_all(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        values = _merge(values, _parse_override(override))
    return values


def _preset(name: str) -> dict[str, Any]:
    values = _shipped("presets", name)
    parent = values.pop("extends", None)
    return _merge(_preset(parent), values) if parent else values


def _shipped(folder: str, name: str) -> dict[str, Any]:
    text = (resources.files(_PACKAGE) / folder / f"{name}.yaml").read_text(encoding="utf-8")
    return _mapping(yaml.safe_load(text), f"{folder}/{name}.yaml")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return _mapping(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"configuration file {path} does not exist") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration file {path} cannot be read as YAML: {_where(error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} cannot be read as YAML: {error}") from error


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected key: value lines at the top, found {type(value).__name__}")
    return value


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; a changed `kind` (another member of a union) replaces its whole section."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and value.get("kind") in (None, below.get("kind")):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def check_override(text: str) -> str:
    """A `key.path=value` string itself, where it is in form and holds no secret.

    Raises:
        ConfigError: naming the key, never what may be a secret.
    """
    _parse_override(text)
    return text


def _parse_override(text: str) -> dict[str, Any]:
    path, separator, raw = text.partition("=")
    if not separator or not all(path.split(".")):
        raise ConfigError(
            f"--set takes key.path=value, got {_NO_PATH.split(text)[0]!r}; "
            "for example --set training.actor.learning_rate=1e-6"
        )
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {path}: what follows is not a YAML value ({_where(error)}); quote it") from None
    if isinstance(value, str):
        value = _number(value)
    nested: Any = value
    for key in reversed(path.split(".")):
        nested = {key: nested}
    try:
        return _mapping(refuse_literals(nested), path)
    except ValueError as error:
        raise ConfigError(f"--set {error}") from None


def _number(text: str) -> str | float:
    """YAML 1.1 reads `1e-6` as text; users mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "configuration"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; allowed here: {_allowed_keys(problem['loc'])}")
        elif problem["type"] == "value_error":
            lines.append(f"{key}: {problem['ctx']['error']}")
        else:
            given = "" if _MAY_BE_SECRET & set(problem["loc"]) else f", got {redacted(problem['input'])!r}"
            lines.append(f"{key}: {problem['msg']}{given}")
    return "invalid configuration:\n  " + "\n  ".join(lines)


def _where(error: yaml.YAMLError) -> str:
    """What is wrong where, without a quotation of the text."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or type(error).__name__
    return problem if mark is None else f"{problem}, line {mark.line + 1}, column {mark.column + 1}"


def _allowed_keys(location: tuple[int | str, ...]) -> str:
    model: Any = RunConfig
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return "see docs/configuration.md"
        model = field.annotation
    fields = getattr(model, "model_fields", None)
    return ", ".join(sorted(fields)) if fields else "see docs/configuration.md"
