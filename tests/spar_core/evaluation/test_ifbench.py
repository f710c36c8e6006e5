import json

import pytest

from spar_core.evaluation.ifbench import HEADLINE, read_prompts, score_responses
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


def test_a_prompt_without_an_answer_fails_and_is_counted(benchmark_data):
    folder = benchmark_data / "ifbench"
    report = score_responses(read_prompts(folder / "IFBench_test.jsonl"), folder / "sample_output.jsonl")
    assert report.missing == 7
    assert len(report.unmatched) == 1
    assert report.headline()[HEADLINE]["n"] == 300
    assert all(item.whole("loose") is not None for item in report.items)
