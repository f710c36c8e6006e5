import json

import pytest

from spar_core.benchmarks import benchmark
from spar_core.benchmarks.plugin import FileRequest
from spar_core.evaluation.ifeval import read_prompts
from spar_core.evaluation.ifeval_verdicts import judge

pytest.importorskip("emoji")
pytest.importorskip("syllapy")


def _rows(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_published_answers_reproduce_the_goldens(benchmark_data):
    folder = benchmark_data / "ifbench"
    prompts = {str(prompt.key): prompt for prompt in read_prompts(folder / "IFBench_test.jsonl").prompts}
    sample = _rows(folder / "sample_output.jsonl")
    checked = 0
    for golden in _rows(folder / "golden_visible.jsonl"):
        if golden["key"] is None:
            continue  # its prompt is no longer in the test file
        instructions = prompts[golden["key"]].instructions
        verdicts = judge(instructions, sample[golden["sample_output_line"]]["response"])
        assert [i.kind for i in instructions] == golden["instruction_id_list"]
        assert [verdict.strict for verdict in verdicts] == golden["current_strict"], golden["key"]
        assert [verdict.loose for verdict in verdicts] == golden["current_loose"], golden["key"]
        checked += 1
    assert checked >= 146


def test_a_prompt_without_an_answer_fails_and_is_counted(benchmark_data, tmp_path):
    items = tmp_path / "items.jsonl"
    request = FileRequest(benchmark_data / "ifbench" / "sample_output.jsonl", items, data_dir=benchmark_data)
    found = benchmark("ifbench").score_file(request)
    assert (found.plain["missing"], found.plain["unmatched"]) == (7, 1)
    assert (found.plain["prompt_loose"]["n"], found.plain["prompt_loose"]["unscored"]) == (300, 0)
    assert {score.metric: score.value for score in found.sections[0][1]}["unanswered"] == 7 / 300
    assert not any(None in row["loose"] for row in _rows(items))
    assert "7 of 300 prompts have no answer and count as failed, as in the reference" in found.notes
