"""Whether the files that the work reads are there and their first rows can be understood."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import flows.benchmarking.own
from flows.checks.models import hub_answers, hub_is_off
from flows.checks.verdicts import Finding, judged
from flows.checks.work import GivenData, Work
from spar_core.benchmarks import benchmark, data_source, package_of
from spar_core.config.prompts import PromptsConfig
from spar_core.constraints import nltk_data
from spar_core.data.example_files import read_examples, read_pairs
from spar_core.data.given_source import DataSource
from spar_core.errors import DataError
from spar_core.evaluation.data_sources import Source, local_data
from spar_core.records import ModelRole
from spar_core.synthesis.sources import read_prompt_rows, seed_prompts

_FIRST_ROWS = 20
_NO_DATA = (
    "name a folder that is laid out as docs/data.md says (SPAR_DATA_DIR=FOLDER, or prompts.decontaminate=FOLDER), or "
    "go without and say so beside the results: prompts.decontaminate=null"
)
_PUNKT = ("punkt_tab",)
_NLTK_OF = {
    "ifeval": _PUNKT,
    "ifbench": tuple(nltk_data.RESOURCES),
    "multi_if": _PUNKT,
    "m_ifeval": _PUNKT,
    "verifiable": _PUNKT,
}


def check_data(work: Work) -> Iterator[Finding]:
    """Prompts, warm-start examples, the decontamination folder, benchmarks, NLTK's resources."""
    if work.prompts is not None:
        yield _prompts(work.prompts, skip_bad=work.skip_bad, own_format=work.own_prompts)
    if work.given is not None:
        yield _given("training data", work.given, work.config.method.prompt_set, fetch=True)
    if work.trains:
        yield from _warm_start(work)
        yield from _seeds(work)
        yield from _decontamination(work.config.prompts)
    for name in work.benchmarks:
        if package_of(name) == flows.benchmarking.own.__name__:
            continue
        source = getattr(benchmark(name), "source", None)
        if source is not None and not work.own_prompts:
            yield _benchmark(name, source, work.data_dir)
    yield from _nltk(work)


def _prompts(source: str, *, skip_bad: bool, own_format: bool) -> Finding:
    if own_format:
        return judged("prompts", lambda: _readable(Path(source).expanduser()))
    return _rows("prompts", source, lambda: read_prompt_rows(source, skip_bad=skip_bad))


def _seeds(work: Work) -> Iterator[Finding]:
    """Who evolves how many prompts of how many seeds."""
    prompts, warm = work.config.prompts, work.config.warm_start
    if prompts.source != "taxonomy":
        return
    if prompts.evolver is None:
        yield Finding(
            "prompt evolution",
            "warn",
            "the base actor itself evolves the prompts (published: a stronger model)",
            "name one in prompts.evolver",
        )
    wanted = work.config.iterations * prompts.per_iteration
    wanted += warm.prompts_for("actor") + warm.prompts_for("refiner")
    if prompts.path is None and wanted > (there := len(seed_prompts())):
        yield Finding(
            "seed prompts",
            "warn",
            f"{wanted} prompts are evolved from {there} shipped seeds, each up to {-(-wanted // there)} times",
            "name a file or data set of more in prompts.path",
        )


def _decontamination(prompts: PromptsConfig) -> Iterator[Finding]:
    name, against = "decontamination data", prompts.decontaminate
    if against is None:
        return
    if not isinstance(against, tuple):
        yield judged(name, lambda: _filled(against))
        return
    absent, barred = [], False
    for benchmark_name in against:
        try:
            if local_data(data_source(benchmark_name)) is None:
                absent.append(benchmark_name)
        except DataError:  # the folder of data that is named lacks it: the hub is not asked
            absent.append(benchmark_name)
            barred = True
    if not absent:
        yield Finding(name, "ok", ", ".join(against))
    elif barred or not hub_answers():
        yield Finding(name, "fail", f"no data of {', '.join(absent)} (prompts.decontaminate) on this machine", _NO_DATA)
    else:
        yield Finding(name, "warn", f"{', '.join(absent)} not on this machine", "it is fetched from the hub")


def _warm_start(work: Work) -> Iterator[Finding]:
    warm = work.config.warm_start
    missing = warm.needs_teacher()
    if missing is not None:
        yield Finding("warm start", "fail", missing, misused=True)
    files: dict[ModelRole, str | None] = {"actor": warm.actor_file, "refiner": warm.refiner_file}
    for role, source in files.items():
        if source is not None and warm.source == "file":
            given = GivenData(source, role, pairs=False, skip_bad=warm.skip_bad)
            yield _given(f"warm start of the {role}", given, work.config.method.prompt_set)


def _given(name: str, given: GivenData, prompt_set: str, *, fetch: bool = False) -> Finding:
    def read() -> Iterator[object]:
        if given.pairs:
            return read_pairs(given.source, skip_bad=given.skip_bad)
        return read_examples(given.source, given.role, skip_bad=given.skip_bad, prompt_set=prompt_set)

    return _rows(name, given.source, read, fetch=fetch)


def _rows(name: str, source: str, read: Callable[[], Iterator[object]], *, fetch: bool = False) -> Finding:
    """Whether the first rows of a source can be understood; a hub's data set is not fetched for that unless told to."""

    def look() -> str:
        may_wait = DataSource.parse(source).may_be_on_hub and not fetch and not hub_is_off()
        return "" if may_wait else f"{source}: the first {len(list(islice(read(), _FIRST_ROWS)))} rows can be read"

    found = judged(name, look)
    if found.verdict == "ok" and not found.detail:
        return Finding(name, "warn", f"{source!r} is no file here: it is looked for as a data set's name", "")
    return found


def _filled(folder: Path) -> str:
    if not folder.is_dir() or not any(folder.iterdir()):
        raise DataError(
            f"{folder} (prompts.decontaminate) is no folder with benchmark data; name one that is laid out as "
            "docs/data.md says, or benchmarks in brackets: [ifeval, llmbar], or leave it unset"
        )
    return str(folder)


def _readable(file: Path) -> str:
    if not file.is_file() or not os.access(file, os.R_OK):
        raise DataError(f"{file}: no such file, or it cannot be read; check the path")
    return str(file)


def _benchmark(benchmark_name: str, source: Source, data_dir: Path | None) -> Finding:
    name = f"data of {benchmark_name}"
    try:
        found = local_data(source, data_dir)
    except DataError as error:
        return Finding(name, "fail", str(error))
    if found is not None:
        return Finding(name, "ok", str(found))
    return Finding(name, "warn", "not on this machine", "it is fetched from the hub; or give --data-dir FOLDER")


def _nltk(work: Work) -> Iterator[Finding]:
    worlds = (work.config.prompts.source, work.config.evaluation.source) if work.trains else ()
    needed = {resource for name in (*worlds, *work.benchmarks) for resource in _NLTK_OF.get(name, ())}
    missing = sorted(resource for resource in needed if not nltk_data.is_present(resource))
    if needed and not missing:
        yield Finding("NLTK data", "ok", ", ".join(sorted(needed)))
    obtainable = bool(missing) and nltk_data.is_obtainable()
    for resource in missing:
        if obtainable:
            yield Finding("NLTK data", "warn", f"{resource} is not on this machine", "it is downloaded at first use")
        else:
            yield Finding("NLTK data", "fail", nltk_data.missing_message(resource))
