"""The benchmarks, found by name: every module of this package but `plugin`, `checked` and `registry` is one.

A module holds `BENCHMARK`. Other packages of benchmarks are made known with `add_package`, single ones with `register`.
"""

from spar_core.benchmarks.registry import (
    UnknownBenchmarkError,
    add_package,
    benchmark,
    data_source,
    names,
    package_of,
    register,
)

__all__ = ["UnknownBenchmarkError", "add_package", "benchmark", "data_source", "names", "package_of", "register"]
