"""In what runs of a home differ: the settings that not all of them share, as short as they can be told apart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_MOST = 6  # settings told of a run; the rest are counted


def settings_apart(configs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Of each configuration `key=value` of what is not the same in all of them, in the order of the keys.

    A key is named by as much of its path as no other that is told shares. A setting that one configuration lacks, as of
    an older version, is told of the others. One configuration alone differs in nothing.
    """
    flat = [dict(_flat(config)) for config in configs]
    paths = sorted({path for settings in flat for path in settings})
    differing = [path for path in paths if len({repr(settings.get(path)) for settings in flat}) > 1]
    names = _short(differing)
    told = [[f"{names[path]}={_said(settings[path])}" for path in differing if path in settings] for settings in flat]
    return [row if len(row) <= _MOST else [*row[:_MOST], f"and {len(row) - _MOST} more"] for row in told]


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, (*path, str(key)))
    else:
        yield path, value


def _short(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The shortest ends of paths that are told apart by them."""
    names = {}
    for path in paths:
        least = next(
            n for n in range(1, len(path) + 1) if sum(other[-n:] == path[-n:] for other in paths) == 1 or n == len(path)
        )
        names[path] = ".".join(path[-least:])
    return names


def _said(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
