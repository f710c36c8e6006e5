"""Write docs/configuration.md from the configuration classes. `python docs/configuration_reference.py`."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from spar_core.config.run import RunConfig
from spar_core.engines.configuration import EngineConfig

HEAD = """# Configuration

A run's configuration is merged, lowest first: defaults, profile (`profile: paper` takes the published choices),
preset or `--config FILE` (YAML in this shape), `--set key.path=value`. Unknown keys and values out of range are
errors that name the key, the value and what is allowed. This page is generated from the configuration classes.

Secrets are named, never written down: [docs/models.md](models.md#keys-and-secrets). Keys marked `(server)` are those
of a server's description file.

Presets: `starter` (default), `smoke`, `llama3-8b`, `llama3-70b`, `glm4-9b`, `mistral-7b`
(`spar_core/config/presets/*.yaml`, each value of the paper with its source).

| key | type | default | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page as it should stand."""
    rows = list(_rows(RunConfig, ""))
    for member in get_args(get_args(EngineConfig)[0]):
        kind = member.model_fields["kind"].default
        shown = "{} (server)" if kind == "openai" else f"engine.{{}} ({kind})"
        rows += [(shown.format(name), *rest) for name, *rest in _rows(member, "") if name != "kind"]
    return HEAD + "".join(f"| `{name}` | {kind} | {default} | {meaning} |\n" for name, kind, default, meaning in rows)


def _rows(model: type[BaseModel], prefix: str) -> Any:
    for name, field in model.model_fields.items():
        nested = field.annotation
        if name == "engine":
            yield f"{prefix}{name}", "transformers, vllm or scripted", "kind: transformers", field.description
            continue
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from _rows(nested, f"{prefix}{name}.")
            continue
        default = field.default if field.default is not PydanticUndefined else None
        if isinstance(default, BaseModel):
            shown = f"kind: {getattr(default, 'kind', '...')}"
        else:
            shown = "" if default is None else str(default)
        yield f"{prefix}{name}", _type(nested, field.metadata), shown, " ".join((field.description or "").split())


_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _type(annotation: Any, metadata: Any) -> str:
    """A type in words: `one of bfs, dfs`, `int >= 1, <= 64`, `path or null`."""
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(annotation))
    if origin is tuple:
        return f"list of {_type(get_args(annotation)[0], ())}"
    if origin is Annotated:
        return _type(get_args(annotation)[0], annotation.__metadata__)
    if origin in (Union, UnionType):
        members = [_type(member, ()) for member in get_args(annotation) if member is not type(None)]
        nullable = ["null"] if type(None) in get_args(annotation) else []
        return " or ".join([*members, *nullable])
    name = {"Path": "path", "str": "text"}.get(getattr(annotation, "__name__", ""), getattr(annotation, "__name__", ""))
    limits = [
        f"{sign} {getattr(limit, key)}"
        for limit in _flat(metadata)
        for key, sign in _SIGNS.items()
        if hasattr(limit, key)
    ]
    return " ".join([name, ", ".join(limits)]).strip()


def _flat(metadata: Any) -> Any:
    for entry in metadata:
        yield from getattr(entry, "metadata", None) or [entry]


if __name__ == "__main__":
    (Path(__file__).parent / "configuration.md").write_text(page(), encoding="utf-8")
