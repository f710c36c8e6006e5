"""`spar eval` on files: the published figures, the goldens, and what bad input is told."""

import gzip
import json
import os
import sys
from types import SimpleNamespace

import pytest

from flows.cli import EXIT_FAILED, EXIT_USAGE, invoke
from flows.showing.evaluation_record import EvaluationRecord


@pytest.fixture(autouse=True)
def _data_folder_stays_as_it_is(monkeypatch):
    """`--data-dir` tells child processes through the environment; the next test must not hear of it."""
    monkeypatch.setenv("SPAR_DATA_DIR", os.environ.get("SPAR_DATA_DIR", ""))


def _rows(path):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def prompts(tmp_path):
    kinds = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    return _write(tmp_path / "p.jsonl", {"key": 1, "prompt": "One", **kinds}, {"key": 2, "prompt": "Two", **kinds})


def _eval(capsys, *arguments):
    code = invoke(["eval", *map(str, arguments)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_published_ifeval_figures_and_goldens(benchmark_data, tmp_path, capsys):
    folder, items = benchmark_data / "ifeval", tmp_path / "items.jsonl"
    arguments = ("--responses", folder / "responses_gpt4.jsonl", "--items", items, "--data-dir", benchmark_data)
    code, out, err = _eval(capsys, "ifeval", *arguments, "--json")
    assert code == 0
    found = json.loads(out)
    metrics = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")
    assert [round(100 * found[metric]["value"], 2) for metric in metrics] == [77.08, 83.69, 79.67, 85.61]
    assert [found[metric]["n"] for metric in metrics] == [541, 834, 541, 834]
    assert all(found[metric]["ci_low"] < found[metric]["value"] < found[metric]["ci_high"] for metric in metrics)
    assert "CC BY 4.0" in err
    written = {row["key"]: row for row in _rows(items)}
    goldens = _rows(folder / "golden_gpt4_visible.jsonl")
    for golden in goldens:
        row = written[golden["key"]]
        assert (row["strict"], row["loose"]) == (golden["strict"], golden["loose"]), golden["key"]
    assert len(goldens) == 271


def test_llmbar_winners(benchmark_data, tmp_path, capsys):
    golden, items = benchmark_data / "llmbar" / "golden_palm2.jsonl.gz", tmp_path / "items.jsonl"
    code, out, _ = _eval(
        capsys, "llmbar", "--judgements", golden, "--items", items, "--data-dir", benchmark_data, "--json"
    )
    assert code == 0
    assert {run["strategy"]: round(run["overall"]["accuracy_pct"], 1) for run in json.loads(out)["runs"]}["CoT"] == 58.7
    winners = [(row["winner"], row["winner_swapped"]) for row in _rows(items)]
    assert winners == [(row["winner"], row["winner_swapped"]) for row in _rows(golden)]


def test_followbench_verdicts(benchmark_data, tmp_path, capsys):
    golden, items = benchmark_data / "followbench" / "golden_visible.jsonl", tmp_path / "items.jsonl"
    code, out, err = _eval(
        capsys, "followbench", "--responses", golden, "--items", items, "--data-dir", benchmark_data, "--json"
    )
    assert code == 0
    assert "judge that was not named" in err
    assert json.loads(out)["judge"] == "not named"
    written = {row["id"]: row for row in _rows(items)}
    rules = [row for row in _rows(golden) if row["kind"] == "rule"]
    assert [written[row["id"]]["expected"] for row in rules] == [row["expected"] for row in rules]


def test_answers_left_out_are_shown_not_scored(prompts, tmp_path, capsys):
    answers = _write(tmp_path / "a.jsonl", {"key": 1, "response": "none here"}, {"prompt": "Three", "response": "x"})
    items = tmp_path / "items.jsonl"
    code, out, err = _eval(capsys, "ifeval", "--responses", answers, "--prompts", prompts, "--items", items, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["prompt_strict"]["value"], found["prompt_strict"]["n"], found["prompt_strict"]["unscored"]) == (
        1,
        1,
        1,
    )
    assert (found["missing"], found["unmatched"]) == (1, 1)
    assert "1 of 2 prompts have no answer" in err
    assert "1 rows answer no prompt of the set: line 2" in err
    assert [row["strict"] for row in _rows(items)] == [[True], [None]]


def test_bad_rows_are_left_out_and_counted_where_that_is_asked(tmp_path, capsys):
    kinds = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    wrong = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"commas": 1}]}
    prompts = _write(
        tmp_path / "p.jsonl",
        {"key": 1, "prompt": "One", **kinds},
        {"key": 2, "prompt": "Two", **wrong},
        {"key": 3, "prompt": "Three", **kinds},
    )
    answers = _write(
        tmp_path / "a.jsonl",
        {"key": 1, "response": "fine"},
        {"key": 2, "response": "to a prompt that is left out"},
        {"key": 3},
        {"prompt": "Three", "response": "a, b"},
    )
    given = ("ifeval", "--responses", answers, "--prompts", prompts, "--json")
    code, _, err = _eval(capsys, *given)
    assert (code, "p.jsonl, line 2: " in err) == (EXIT_FAILED, True)
    code, out, err = _eval(capsys, *given, "--skip-bad")
    found = json.loads(out)
    assert (code, found["prompt_strict"]["value"], found["prompt_strict"]["n"], found["missing"]) == (0, 0.5, 2, 0)
    # One prompt; of the answers the one to it, and the one without a response.
    assert found["left_out"] == {"bad_row": 2, "prompt_left_out": 1}
    assert "1 bad rows are left out; the first: " in err
    assert "p.jsonl, line 2: " in err


def test_answers_that_say_how_they_ended_show_how_many_were_cut(prompts, tmp_path, capsys):
    rows = [
        {"key": 1, "response": "a", "finish_reason": "length"},
        {"key": 2, "response": "b", "finish_reason": "stop"},
    ]
    answers = _write(tmp_path / "a.jsonl", *rows)
    code, out, err = _eval(capsys, "ifeval", "--responses", answers, "--prompts", prompts)
    assert code == 0
    (row,) = [line for line in out.splitlines() if "truncated" in line]
    assert "50.00" in row
    assert "1 of 2 answers (50.0 %) were cut at the token limit" in err


def test_the_record_of_a_file_has_the_form_of_a_models(prompts, tmp_path, capsys):
    answers = _write(tmp_path / "a.jsonl", {"key": 1, "response": "a"}, {"key": 2, "response": "b"})
    _, out, _ = _eval(capsys, "ifeval", "--responses", answers, "--prompts", prompts, "--json")
    found = json.loads(out)
    shared = EvaluationRecord("ifeval", [], [], {}, {}, {}).plain().keys()
    assert found.keys() > shared
    assert (found["run_id"], found["sampling"], found["limit"], found["seed"]) == (None, None, None, None)
    assert [row["metric"] for row in found["scores"]][:2] == ["prompt_strict", "instruction_strict"]
    assert (len(found["data"]["ifeval"]["digest"]), found["request"]["answers"]) == (64, str(answers))
    assert found["versions"]["nltk"] == "3.9.1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"key": 1}\n', "line 1: column 'response' is missing"),
        (b'{"key": 9, "response": "a"}\n', "line 1: key 9 is not in the prompt file"),
        (b'{"key": 1, "response": "a"}\n{"key": 1, "response": "b"}\n', "line 2: second answer to prompt 1"),
        (b'{"key": 1, "response": "\xff"}\n', "line 1: not UTF-8"),
        (b'{"key": 1, "response": ["a"]}\n', "line 1: column 'response' must be text"),
        (b"key,response\n", "line 1: not a JSON object"),
        (b"", "no row answers any of the 2 prompts"),
    ],
)
def test_bad_answers_name_file_and_line(prompts, tmp_path, capsys, content, said):
    answers = tmp_path / "a.jsonl"
    answers.write_bytes(content)
    code, out, err = _eval(capsys, "ifeval", "--responses", answers, "--prompts", prompts)
    assert (code, out) == (EXIT_FAILED, "")
    assert str(answers) in err
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ifeval",), "give either --model"),
        (("ifeval", "--model", "starter", "--responses", "a.jsonl"), "give either --model"),
        (("llmbar", "--responses", "a", "--judgements", "b"), "not both"),
        (("starter", "--responses", "a.jsonl"), "`starter` needs a model"),
        (("llmbar", "--judgements", "a", "--prompts", "p"), "--prompts is for ifbench and ifeval"),
        (("mmlu", "--model", "starter"), "'mmlu' is not one of"),
    ],
)
def test_bad_usage(capsys, arguments, said):
    code, _, err = _eval(capsys, *arguments)
    assert code == EXIT_USAGE
    assert said in err


def test_a_missing_file_or_folder(prompts, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SPAR_DATA_DIR", raising=False)
    code, _, err = _eval(capsys, "ifeval", "--responses", tmp_path / "none.jsonl", "--prompts", prompts)
    assert (code, "none.jsonl: cannot be read" in err) == (EXIT_FAILED, True)
    code, _, err = _eval(capsys, "ifeval", "--responses", prompts, "--data-dir", tmp_path)
    assert (code, "holds no ifeval/input_data.jsonl" in err) == (EXIT_FAILED, True)


def test_without_a_folder_the_hub_is_asked(prompts, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SPAR_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = []

    def load_dataset(name, data_files, split):
        asked.append((name, split))
        if len(asked) == 1:
            raise ConnectionError("no network")
        return _rows(prompts)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    answers = _write(tmp_path / "a.jsonl", {"key": 1, "response": "a"}, {"key": 2, "response": "b, c"})
    code, _, err = _eval(capsys, "ifeval", "--responses", answers)
    assert (code, "--data-dir DIR" in err) == (EXIT_FAILED, True)
    for _ in range(2):  # the second time the download is there
        code, out, err = _eval(capsys, "ifeval", "--responses", answers, "--json")
        assert (code, json.loads(out)["prompt_strict"]["value"]) == (0, 0.5)
        assert "not the published ones" in err
    assert asked == [("google/IFEval", "train")] * 2
