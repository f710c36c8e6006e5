"""Data from the hub: what `datasets` would return is faked, in the shape the hub's repositories document."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from spar_core.benchmarks import benchmark
from spar_core.errors import DataError
from spar_core.evaluation.data_sources import Source
from spar_core.evaluation.data_sources import find_data as find_data_of
from spar_core.evaluation.followbench import load_followbench
from spar_core.evaluation.llmbar import load_llmbar

IFEVAL_ROW = {
    "key": 1000,
    "prompt": "Say hi without commas",
    "instruction_id_list": ["punctuation:no_comma"],
    "kwargs": [{"num_words": None, "relation": None}],  # the hub's columns are the same for every instruction
}


def find_data(name, data_dir=None):
    return find_data_of(name, benchmark(name).source, data_dir)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Answers of `load_dataset` by (name, data file), and the calls that were made."""
    answers, calls = {}, []

    def load_dataset(name, data_files=None, split=None):
        calls.append((name, data_files, split))
        if (name, data_files) not in answers:
            raise ConnectionError("no route to host")
        return answers[name, data_files]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.delenv("SPAR_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return SimpleNamespace(answers=answers, calls=calls)


def test_a_benchmark_of_one_split_is_loaded_once(hub):
    hub.answers["google/IFEval", None] = [IFEVAL_ROW]
    path = find_data("ifeval")
    assert find_data("ifeval") == path
    assert hub.calls == [("google/IFEval", None, "train")]
    loaded = benchmark("ifeval").load(path, {})
    assert [instruction.kwargs for instruction in loaded.content.prompts[0].instructions] == ["{}"]
    assert "not the published ones of ifeval" in loaded.warning


def test_without_network_the_message_names_the_remedy_and_nothing_is_left(hub, tmp_path):
    with pytest.raises(DataError, match=r"data_en/content_constraints.json cannot be loaded .*--data-dir"):
        find_data("followbench")
    assert list((tmp_path / "cache" / "spar" / "benchmarks").iterdir()) == []


def test_data_that_is_not_on_the_hub_must_be_given(hub, tmp_path):
    with pytest.raises(DataError, match=r"mine is not on the hub; give the folder that holds mine.jsonl: --data-dir"):
        find_data_of("mine", Source("", (Path("mine.jsonl"),)))


def test_a_named_folder_is_never_filled_from_the_hub(hub, tmp_path):
    with pytest.raises(DataError, match="holds no ifeval"):
        find_data("ifeval", tmp_path)
    assert hub.calls == []


def test_followbench_and_llmbar_of_the_hub_count_as_published(hub, benchmark_data):
    """Other bytes, the same rows; the hub's English `example` rows have no `answer`."""
    for ours, theirs in (("data", "data_en"), ("data_zh", "data_zh")):
        for path in (benchmark_data / "followbench" / ours).glob("*.json"):
            rows = [{k: v for k, v in row.items() if k != "answer"} for row in json.loads(path.read_text("utf-8"))]
            hub.answers["YuxinJiang/FollowBench", f"{theirs}/{path.name}"] = rows
    folder = find_data("followbench")
    assert [load_followbench(folder, language).is_published for language in ("en", "zh")] == [True, True]

    address = "https://raw.githubusercontent.com/princeton-nlp/LLMBar/main/Dataset/LLMBar"
    for path in (benchmark_data / "llmbar").rglob("dataset.json"):
        subset = path.parent.relative_to(benchmark_data / "llmbar").as_posix()
        hub.answers["json", f"{address}/{subset}/dataset.json"] = json.loads(path.read_text("utf-8"))
    bench = load_llmbar(find_data("llmbar"))
    assert (bench.is_published, len(bench.instances())) == (True, 419)
