"""Dropping training prompts that share a long run of words with a benchmark's prompts."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.errors import ConfigError, DataError
from spar_core.records import Drop, Prompt

STAGE = "decontaminate"
REASON = "benchmark_overlap"
NGRAM_WORDS = 13
# A benchmark prompt shorter than an n-gram is searched whole; below this many words it is everyday
# language ("Write a poem about a dog."), and only an equal prompt counts.
CONTAINED_WORDS = 8

# Letters and digits in runs; scripts without blanks between words count character by character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


class Decontamination(NamedTuple):
    """Kept prompts in order, a drop per contaminated one, and how many each benchmark took out.

    A drop names the first benchmark that matches and the words shared.
    """

    kept: tuple[Prompt, ...]
    drops: tuple[Drop, ...]
    counts: Mapping[str, int]


def decontaminate(
    prompts: Iterable[Prompt], benchmarks: Mapping[str, Iterable[str]], ngram: int = NGRAM_WORDS
) -> Decontamination:
    """Drop prompts that share `ngram` consecutive words with a benchmark prompt.

    Case, punctuation and white space do not count. `counts` has an entry for every benchmark.

    Raises:
        ConfigError: `ngram` below 3.
    """
    if ngram < 3:
        raise ConfigError(f"decontamination n-gram is {ngram} words; fewer than 3 would drop almost everything")
    index = _Index(ngram)
    for name, texts in benchmarks.items():
        for text in texts:
            index.add(name, text)
    counts: Counter[str] = Counter(dict.fromkeys(benchmarks, 0))
    kept: list[Prompt] = []
    drops: list[Drop] = []
    for prompt in prompts:
        match = index.match(prompt.text)
        if match is None:
            kept.append(prompt)
            continue
        name, shared = match
        counts[name] += 1
        drops.append(Drop(STAGE, prompt.prompt_id, REASON, f"{name}: {shared}"))
    return Decontamination(tuple(kept), tuple(drops), dict(counts))


class _Index:
    """Word runs of benchmark prompts and where they come from."""

    def __init__(self, ngram: int) -> None:
        self._ngram = ngram
        self._runs: dict[str, str] = {}
        self._whole: dict[str, str] = {}
        self._lengths = {ngram}

    def add(self, benchmark: str, text: str) -> None:
        words = _words(text)
        if not words:
            return
        self._whole.setdefault(" ".join(words), benchmark)
        if len(words) < self._ngram:
            if len(words) < CONTAINED_WORDS:
                return
            self._lengths.add(len(words))
        for run in _runs(words, min(len(words), self._ngram)):
            self._runs.setdefault(run, benchmark)

    def match(self, text: str) -> tuple[str, str] | None:
        words = _words(text)
        whole = " ".join(words)
        if whole in self._whole:
            return self._whole[whole], whole
        for length in sorted(self._lengths):
            for run in _runs(words, length):
                if run in self._runs:
                    return self._runs[run], run
        return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: list[str], length: int) -> Iterator[str]:
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))


def read_benchmarks(folder: Path) -> dict[str, tuple[str, ...]]:
    """Prompts of the benchmarks found in a data folder, by benchmark name.

    Layout: `ifeval/input_data.jsonl`, `ifbench/IFBench_test.jsonl`, `followbench/data*/*.json`,
    `llmbar/**/dataset.json`; a benchmark that is not there is left out.

    Raises:
        DataError: none of them is there, or a file cannot be read.
    """
    found = {
        name: read_benchmark(name, folder / layout.place) for name, layout in _LAYOUTS.items() if layout.lies(folder)
    }
    if not found:
        patterns = ", ".join(str(Path(layout.place, layout.pattern)) for layout in _LAYOUTS.values())
        raise DataError(f"no benchmark prompts in {folder}; looked for {patterns}")
    return found


def read_benchmark(name: str, place: Path) -> tuple[str, ...]:
    """Prompts of one benchmark, from its file or the folder that holds its files.

    Raises:
        DataError: there is none of its files, or one cannot be read.
    """
    layout = _LAYOUTS[name]
    files = [place] if place.is_file() else layout.files(place)
    if not files:
        raise DataError(f"no prompts of {name} in {place}; looked for {layout.pattern}")
    return tuple(text for file in files for text in _texts(file, layout.column))


class _Layout(NamedTuple):
    """Where a benchmark's prompts lie: its place in a data folder, its files in that place, and their column."""

    place: str
    pattern: str
    column: str

    def files(self, place: Path) -> list[Path]:
        return sorted(place.glob(self.pattern))

    def lies(self, folder: Path) -> bool:
        return bool(self.files(folder / self.place))


_LAYOUTS: dict[str, _Layout] = {
    "ifeval": _Layout("ifeval", "input_data.jsonl", "prompt"),
    "ifbench": _Layout("ifbench", "IFBench_test.jsonl", "prompt"),
    "followbench": _Layout("followbench", "data*/*.json", "instruction"),
    "llmbar": _Layout("llmbar", "**/dataset.json", "input"),
}


def _texts(path: Path, column: str) -> Iterator[str]:
    parse: Callable[[str], list[Any]] = _parse_lines if path.suffix == ".jsonl" else json.loads
    try:
        for row in parse(path.read_text(encoding="utf-8")):
            yield str(row[column])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as benchmark rows with a column {column!r} ({error})") from error


def _parse_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]
