"""Which benchmarks there are: a module per benchmark, known by its name before it is imported."""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from spar_core.errors import ConfigError

if TYPE_CHECKING:
    from spar_core.benchmarks.plugin import Benchmark
    from spar_core.evaluation.data_sources import Source

_NO_BENCHMARKS = {"plugin", "registry", "checked"}
_packages = ["spar_core.benchmarks"]
_registered: "dict[str, Benchmark]" = {}


class UnknownBenchmarkError(ConfigError):
    """There is no benchmark of this name."""


def add_package(package: str) -> None:
    """Look for benchmarks in the modules of a further package, each with an object `BENCHMARK` of the module's name."""
    if package not in _packages:
        _packages.append(package)


def register(benchmark: "Benchmark") -> None:
    """Make a benchmark known under its name, in place of an earlier one of that name."""
    _registered[benchmark.name] = benchmark


def names() -> tuple[str, ...]:
    """Names of all benchmarks; none of them is imported for it."""
    return tuple(dict.fromkeys([*_modules(), *_registered]))


def benchmark(name: str) -> "Benchmark":
    """The benchmark of a name.

    Raises:
        UnknownBenchmarkError: there is none; the message names those there are.
    """
    if name in _registered:
        return _registered[name]
    package = _modules().get(name)
    if package is None:
        raise UnknownBenchmarkError(f"there is no benchmark {name!r}; there are {', '.join(names())}")
    found: Benchmark = importlib.import_module(f"{package}.{name}").BENCHMARK
    return found


def data_source(name: str) -> "Source":
    """Where the data of a benchmark lie.

    Raises:
        ConfigError: there is no such benchmark, or it has no data of its own.
    """
    source = benchmark(name).source
    if source is None:
        raise ConfigError(f"benchmark {name!r} has no data of its own")
    return source


def package_of(name: str) -> str | None:
    """The package in which a benchmark's module stands; null where it was registered as an object, or is unknown."""
    return None if name in _registered else _modules().get(name)


def _modules() -> dict[str, str]:
    """Names of the benchmarks' modules and the packages they stand in."""
    return {
        module.name: package
        for package in _packages
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
        if module.name not in _NO_BENCHMARKS
    }
