"""Benchmarks are found by name; one that a test module brings works like those of the package."""

import json
import sys
from pathlib import Path

import pytest
from capitals import BENCHMARK

from spar_core import benchmarks
from spar_core.benchmarks import registry
from spar_core.benchmarks.plugin import AskedBenchmark, Benchmark, FileRequest
from spar_core.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_packages", list(registry._packages))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"country": "France", "capital": "Paris"}, {"country": "Peru", "capital": "Lima"}]
    (tmp_path / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_names_are_known_without_importing_a_benchmark() -> None:
    import subprocess

    code = "import sys; from spar_core import benchmarks as b; print(*b.names()); assert 'numpy' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert set(shown.split()) == {"followbench", "ifbench", "ifeval", "llmbar", "m_ifeval", "multi_if"}


@pytest.mark.parametrize("name", benchmarks.names())
def test_every_benchmark_says_what_it_is(name: str) -> None:
    found = benchmarks.benchmark(name)
    assert isinstance(found, Benchmark)
    assert (found.name, bool(found.summary)) == (name, True)
    if isinstance(found, AskedBenchmark):
        assert found.source.licence
        assert found.source.places


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"there is no benchmark 'capitals'; there are .*ifeval"):
        benchmarks.benchmark("capitals")


def test_a_package_of_benchmarks_is_found_by_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "my_benchmarks"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cities.py").write_text("from capitals import BENCHMARK\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    benchmarks.add_package("my_benchmarks")
    assert "cities" in benchmarks.names()
    assert benchmarks.benchmark("cities") is BENCHMARK


def test_a_registered_benchmark_scores_a_file(data: Path, tmp_path: Path) -> None:
    benchmarks.register(BENCHMARK)
    answers = written(
        tmp_path / "a.jsonl",
        {"key": "France", "response": "It is Paris.", "finish_reason": "length"},
    )
    found = benchmarks.benchmark("capitals").score_file(FileRequest(answers, tmp_path / "i.jsonl", data_dir=data))
    values = {score.metric: (score.value, score.n, score.unscored) for score in found.sections[0][1]}
    assert values == {"named": (1.0, 1, 1), "alone": (0.0, 1, 1), "unanswered": (0.5, 2, 0), "truncated": (1.0, 1, 0)}
    items = [json.loads(line) for line in (tmp_path / "i.jsonl").read_text().splitlines()]
    assert items == [
        {"key": "France", "named": True, "alone": False},
        {"key": "Peru", "named": None, "alone": None},
    ]


def test_bad_answers_stop_it_or_are_left_out(data: Path, tmp_path: Path) -> None:
    answers = written(tmp_path / "a.jsonl", {"key": "Spain", "response": "Madrid"}, {"key": "Peru", "response": "Lima"})
    with pytest.raises(DataError, match="line 1: the row answers no item"):
        BENCHMARK.score_file(FileRequest(answers, data_dir=data))
    found = BENCHMARK.score_file(FileRequest(answers, data_dir=data, skip_bad=True))
    assert [drop.reason for drop in found.left_out] == ["bad_row"]
    assert found.plain["alone"]["value"] == 1.0


def test_the_example_in_the_docs_is_the_benchmark_of_these_tests() -> None:
    root = Path(__file__).parents[3]
    shown = (
        (root / "docs" / "evaluation.md")
        .read_text(encoding="utf-8")
        .partition("# spar_core/benchmarks/capitals.py\n")[2]
    )
    own = (Path(__file__).parent / "capitals.py").read_text(encoding="utf-8").partition('"""\n\n')[2]
    assert shown.partition("```")[0] == own
