"""Which methods there are: a module per method or an entry point, known by its name before it is imported."""

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from spar_core.errors import ConfigError

if TYPE_CHECKING:
    from spar_core.methods.plugin import Method

GROUP: Final = "spar.methods"
"""Entry points of other packages: the method's name, and the object."""
_PACKAGE: Final = "spar_core.methods"
_NO_METHODS: Final = {"plugin", "registry", "searching"}
_registered: "dict[str, Method]" = {}


class UnknownMethodError(ConfigError):
    """There is no method of this name."""


def register(method: "Method") -> None:
    """Make a method known under its name in this process, in place of an earlier one of that name."""
    _registered[method.name] = method


def names() -> tuple[str, ...]:
    """Names of all methods; none of them is imported for it."""
    return tuple(dict.fromkeys([*_shipped(), *_plugged_in(), *_registered]))


def method(name: str) -> "Method":
    """The method of a name; one that ships wins over an entry point of its name.

    Raises:
        UnknownMethodError: there is none; the message names those there are.
        ConfigError: an entry point of that name holds something else, or cannot be imported.
    """
    if name in _registered:
        return _registered[name]
    if name in _shipped():
        found: Method = importlib.import_module(f"{_PACKAGE}.{name}").METHOD
        return found
    if name in _plugged_in():
        return _loaded(_plugged_in()[name])
    raise UnknownMethodError(f"there is no method {name!r}; there are {', '.join(names())}")


@cache
def _shipped() -> tuple[str, ...]:
    path = importlib.import_module(_PACKAGE).__path__
    return tuple(module.name for module in pkgutil.iter_modules(path) if module.name not in _NO_METHODS)


@cache
def _plugged_in() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> "Method":
    from spar_core.methods.plugin import Method

    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"method {entry.name!r} ({GROUP}: {entry.value}) cannot be imported: {error}") from error
    if not isinstance(found, Method) or found.name != entry.name:
        raise ConfigError(
            f"the entry point {entry.name!r} of {GROUP} must be a Method of that name (spar_core.methods.plugin), and "
            f"{entry.value} is {found!r}"
        )
    return found
