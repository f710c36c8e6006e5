"""What is wrong with a benchmark's data or languages is told before any model is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.benchmarking.data_check import check_parts
from flows.benchmarking.request import BenchmarkRequest
from spar_core.errors import ConfigError, DataError

_ROW = {"key": 1, "prompt": "Parle", "instruction_id_list": ["fr:punctuation:no_comma"], "kwargs": [{}]}


@pytest.fixture
def request_of(tmp_path: Path) -> Any:
    (tmp_path / "data" / "m_ifeval").mkdir(parents=True)
    (tmp_path / "data" / "m_ifeval" / "fr_input_data.jsonl").write_text(json.dumps(_ROW) + "\n")

    def make(benchmark: str, **options: Any) -> BenchmarkRequest:
        places = {"home": str(tmp_path / "home"), "data_dir": str(tmp_path / "data")}
        return BenchmarkRequest(benchmark=benchmark, model="starter", **places | options)

    return make


def test_a_language_whose_data_is_missing_is_named(request_of: Any) -> None:
    with pytest.raises(DataError, match=r"es_input_data\.jsonl is missing"):
        check_parts(request_of("m_ifeval"))
    check_parts(request_of("m_ifeval", languages=("fr",)))


def test_a_language_a_benchmark_does_not_have_is_told(request_of: Any) -> None:
    with pytest.raises(ConfigError, match="FollowBench has no language 'fr'"):
        check_parts(request_of("followbench", languages=("fr",), judge="starter"))


def test_data_that_cannot_be_read_is_told_with_its_line(request_of: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "m_ifeval" / "fr_input_data.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1: column 'key'"):
        check_parts(request_of("m_ifeval", languages=("fr",)))


def test_data_that_has_to_be_fetched_is_not(request_of: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SPAR_DATA_DIR", raising=False)
    check_parts(request_of("multi_if", data_dir=None))
    assert not (tmp_path / "cache").exists()
