import json

import pytest

from spar_core.errors import DataError
from spar_core.evaluation.ifeval import MISSING_ANSWER, read_prompts, score_file
from spar_core.evaluation.ifeval_verdicts import judge, variants_of
from spar_core.records import Constraint

NO_COMMA = Constraint.create("punctuation:no_comma")
QUOTED = Constraint.create("startend:quotation")
HANGING = Constraint.create("keywords:existence", keywords=["(a+)+$"])


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(key, text, *instructions):
    return {
        "key": key,
        "prompt": text,
        "instruction_id_list": [kind for kind, _ in instructions],
        "kwargs": [kwargs for _, kwargs in instructions],
    }


@pytest.fixture
def prompts(tmp_path):
    rows = [
        _row(1, "First", ("punctuation:no_comma", {}), ("startend:quotation", None)),
        _row(2, "Second ", ("punctuation:no_comma", {"letter": None})),
        _row(3, "Third", ("punctuation:no_comma", {})),
    ]
    return read_prompts(_write(tmp_path / "prompts.jsonl", rows))


def test_variants_in_order():
    assert variants_of("Sure:\n *a*\n*b*\nBye") == (
        "Sure:\n *a*\n*b*\nBye",
        "Sure:\n a\nb\nBye",
        "*a*\n*b*\nBye",
        "a\nb\nBye",
        "Sure:\n *a*\n*b*",
        "Sure:\n a\nb",
        "*a*\n*b*",
        "a\nb",
    )


def test_one_line_has_no_shortened_variants():
    assert variants_of("**x**") == ("**x**", "x")
    assert variants_of("* *") == ("* *",)  # without its stars it is blank
    assert variants_of(" \n ") == ()


def test_strict_and_loose():
    answer = 'Sure, here it is:\n*"x"*'
    assert [v[:2] for v in judge((NO_COMMA, QUOTED), answer)] == [(False, True), (False, True)]
    assert [v[:2] for v in judge((NO_COMMA, QUOTED), " ")] == [(False, False), (False, False)]


def test_a_check_without_an_end_leaves_both_verdicts_open(monkeypatch):
    monkeypatch.setattr("spar_core.constraints.patterns.CPU_SECONDS", 1)
    verdict, other = judge((HANGING, NO_COMMA), "a" * 60 + "b")
    assert verdict[:2] == (None, None)
    assert verdict.reason.startswith("check_timeout")
    assert other[:2] == (True, True)


def test_answers_match_by_key_or_by_text(prompts, tmp_path):
    answers = _write(
        tmp_path / "answers.jsonl",
        [
            {"key": "1", "response": '"a"'},
            {"prompt": " Second", "response": "a, b"},
            {"prompt": "Fourth", "response": "a"},
        ],
    )
    report = score_file(prompts, answers)
    assert [item.row() for item in report.items[:2]] == [
        {
            "key": 1,
            "instruction_id_list": ["punctuation:no_comma", "startend:quotation"],
            "strict": [True, True],
            "loose": [True, True],
        },
        {"key": 2, "instruction_id_list": ["punctuation:no_comma"], "strict": [False], "loose": [False]},
    ]
    assert report.items[2].verdicts[0].reason == MISSING_ANSWER
    assert report.missing == 1
    assert report.unmatched == (f"{answers}, line 3",)
    headline = report.headline()
    assert list(headline) == ["prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"]
    assert (headline["prompt_strict"]["value"], headline["prompt_strict"]["n"]) == (1 / 2, 2)
    assert (headline["instruction_loose"]["value"], headline["instruction_loose"]["unscored"]) == (2 / 3, 1)
    by_kind = {score.metric: (score.value, score.n) for score in report.scores if "/" in score.metric}
    assert by_kind["instruction_strict/punctuation:no_comma"] == (1 / 2, 2)
    assert by_kind["instruction_loose/startend:quotation"] == (1.0, 1)


def test_missing_answers_can_be_failed(prompts, tmp_path):
    report = score_file(prompts, _write(tmp_path / "a.jsonl", [{"key": 3, "response": "a"}]), missing="failed")
    assert report.missing == 2
    assert report.headline()["prompt_strict"] == pytest.approx(
        {"value": 1 / 3, "ci_low": 0.0615, "ci_high": 0.7923, "n": 3, "unscored": 0}, abs=1e-3
    )


def test_processes_give_the_same_report(prompts, tmp_path):
    answers = _write(tmp_path / "a.jsonl", [{"key": 3, "response": "a,"}, {"prompt": "x", "response": "b"}])
    assert score_file(prompts, answers, workers=2) == score_file(prompts, answers)


def test_records_carry_prompt_and_instruction_items(prompts, tmp_path):
    report = score_file(prompts, _write(tmp_path / "a.jsonl", [{"key": 1, "response": "a"}]))
    items = {(item.item_id, item.metric): item for item in report.records("actor", "d" * 32)}
    assert items["1", "prompt_strict"].value == 0.0
    assert items["1#0", "instruction_strict/punctuation:no_comma"].value == 1.0
    missing = items["2#0", "instruction_loose/punctuation:no_comma"]
    assert (missing.value, missing.cluster_id, missing.detail) == (None, "2", MISSING_ANSWER)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b'{"key": 1, "response": "a"}', b'{"key": 9, "response": "a"}'], r"a\.jsonl, line 2: key 9 is not"),
        (
            [b'{"key": 1, "response": "a"}', b"", b'{"prompt": "First", "response": ""}'],
            "line 3: second answer.*line 1",
        ),
        ([b'{"key": 1, "answer": "a"}'], "line 1: column 'response' is missing"),
        ([b'{"response": "a"}'], "line 1: a row needs 'response' and either"),
        ([b'{"key": 1, "response": 3}'], "line 1: column 'response' must be text"),
        ([b'{"key": 1, "response": "\xff"}'], "line 1: not UTF-8"),
        ([b'{"key": 1,'], "line 1: not a JSON object"),
        ([b'{"prompt": "Fourth", "response": "a"}'], "no row answers any of the 3 prompts"),
    ],
)
def test_bad_answers_name_file_and_line(prompts, tmp_path, lines, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=message):
        score_file(prompts, path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"key": 1, "prompt": "p"}, "line 1: column 'instruction_id_list'"),
        (_row(None, "p", ("punctuation:no_comma", {})), "line 1: column 'key'"),
        ({**_row(1, "p", ("punctuation:no_comma", {})), "kwargs": []}, "line 1: column 'kwargs'"),
        (_row(1, "p", ("punctuation:commas", {})), "line 1: unknown constraint kind.*punctuation:no_comma"),
        (_row(1, "p", ("punctuation:no_comma", {"n": 1})), "line 1: punctuation:no_comma has no argument 'n'"),
    ],
)
def test_bad_prompts_name_file_and_line(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_prompts(_write(tmp_path / "prompts.jsonl", [row]))


def test_repeated_key_is_refused(tmp_path):
    row = _row(1, "p", ("punctuation:no_comma", {}))
    with pytest.raises(DataError, match="line 2: key 1 was used before"):
        read_prompts(_write(tmp_path / "prompts.jsonl", [row, row]))


def test_published_answers_reproduce_the_goldens(benchmark_data):
    folder = benchmark_data / "ifeval"
    report = score_file(read_prompts(folder / "input_data.jsonl"), folder / "responses_gpt4.jsonl")
    rates = {metric: round(100 * score["value"], 2) for metric, score in report.headline().items()}
    assert rates == {
        "prompt_strict": 77.08,
        "instruction_strict": 83.69,
        "prompt_loose": 79.67,
        "instruction_loose": 85.61,
    }
    rows = {item.key: item for item in report.items}
    for line in (folder / "golden_gpt4_visible.jsonl").read_text(encoding="utf-8").splitlines():
        golden = json.loads(line)
        item = rows[golden["key"]]
        assert list(item.of("strict")) == golden["strict"], golden["key"]
        assert list(item.of("loose")) == golden["loose"], golden["key"]
        assert (item.whole("strict"), item.whole("loose")) == (golden["prompt_strict"], golden["prompt_loose"])
