"""Write docs/configuration.md from the configuration classes. `python docs/configuration_reference.py`."""

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from spar_core.config.run import RunConfig
from spar_core.engines.configuration import EngineConfig

Row = tuple[str, str, str, str]
"""Key, type, default, meaning."""

HEAD = """# Configuration

A run's configuration is merged, lowest first: defaults, profile (`profile: paper` takes the published choices),
preset or `--config FILE` (YAML in this shape), `--set key.path=value`. Unknown keys and values out of range are
errors that name the key, the value and what is allowed. This page is generated from the configuration classes.

A file of your own says `extends: PRESET` to build on a shipped one, and `preset: NAME` to have a name of its own.

A run without `--run-id` is named by its preset and a digest of what decides its results. On other hardware it is the
same run: engine settings that change no answer, `training.launch`, `orchestration`, `scale`, `health`, `probe`,
`budget`, `deployment`, `iterations`, intervals of checkpoints and logs, what makes a training fit (`micro_batch_size`,
`gradient_checkpointing`, `attention`) do not name it. The last three round differently: when they change, that
training is made anew, and what follows from it.

Secrets are named, never written down: [docs/models.md](models.md#keys-and-secrets). Keys marked `(server)` are those
of a server's description file.

Presets: `starter` (default), `smoke`, `llama3-8b`, `llama3-70b`, `glm4-9b`, `mistral-7b`
(`spar_core/config/presets/*.yaml`). They hold only what differs from the defaults below.

| key | type | default | meaning |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page as it should stand."""
    rows = list(_rows(RunConfig(), "", {}))
    for member in get_args(get_args(EngineConfig)[0]):
        kind = member.model_fields["kind"].default
        shown = "{} (server)" if kind == "openai" else f"engine.{{}} ({kind})"
        rows += [(shown.format(row[0]), *row[1:]) for row in _rows(member, "", {}) if row[0] != "kind"]
    return HEAD + "".join(f"| `{name}` | {kind} | {default} | {meaning} |\n" for name, kind, default, meaning in rows)


def _rows(section: BaseModel | type[BaseModel], prefix: str, shown: dict[type[BaseModel], str]) -> Iterator[Row]:
    """The keys of a section and those below, with the defaults they have there; a class has those of its fields.

    A section that need not be there is written out where it comes first; `shown` says where that was.
    """
    model = section if isinstance(section, type) else type(section)
    shown.setdefault(model, prefix.removesuffix("."))
    for name, field in model.model_fields.items():
        key, meaning = f"{prefix}{name}", " ".join((field.description or "").split())
        if name == "engine":
            yield key, "transformers, vllm or scripted", "kind: transformers", meaning
            continue
        value = field.default if isinstance(section, type) else getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, f"{key}.", shown)
            continue
        default = "" if value in (None, PydanticUndefined, {}) else str(value)
        listed = _listed(field.annotation)
        if listed is not None:
            yield key, "list of the keys below", default, meaning
            yield from _rows(listed, f"{key}.N.", shown)
            continue
        optional = _section(field.annotation)
        if optional is None:
            yield key, _type(field.annotation, field.metadata), default, meaning
        elif optional in shown:
            yield key, f"keys of `{shown[optional]}`, or null", default, meaning
        else:
            shown[optional] = key
            yield key, "the keys below, or null", default, meaning
            yield from _rows(optional, f"{key}.", shown)


def _listed(annotation: Any) -> type[BaseModel] | None:
    """The section of which a key holds a list."""
    member = get_args(annotation)[0] if get_origin(annotation) is tuple else None
    return member if isinstance(member, type) and issubclass(member, BaseModel) else None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that an optional key may hold."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    return next((m for m in members if isinstance(m, type) and issubclass(m, BaseModel)), None)


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
