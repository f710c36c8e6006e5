"""Whether the benchmarks' data can be read as asked for, found out before anything is started."""

from pathlib import Path

from flows.benchmarking.request import BenchmarkRequest
from spar_core.benchmarks import benchmark
from spar_core.benchmarks.plugin import AskedBenchmark, Options
from spar_core.evaluation.data_sources import local_data


def options_of(request: BenchmarkRequest) -> Options:
    """What a benchmark may read of a request."""
    folder = Path(request.judge_prompts) if request.judge_prompts else None
    return Options(request.limit, request.skip_bad, request.languages, request.strategies, folder)


def check_parts(request: BenchmarkRequest) -> None:
    """Read the published data of every part asked for, where it lies on this machine.

    Raises:
        ConfigError: a benchmark has no such part.
        DataError: the data of a part is missing or malformed, or a package that its rules need is.
    """
    folder = Path(request.data_dir) if request.data_dir else None
    for found in map(benchmark, request.names()):
        if not isinstance(found, AskedBenchmark):
            continue
        parts = found.parts(options_of(request))
        path = None if request.prompts else local_data(found.source, folder)
        for reads in {repr(part.data): part.data for part in parts}.values():
            if path is not None:
                found.load(path, reads)
