import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from followbench_folder import write_followbench

from spar_core.errors import DataError
from spar_core.evaluation.followbench import score_file

EXPECTED = ("expected", "hard", "soft", "contains_invalid_judge_output", "invalid_judge_outputs")
RULE = {"lang": "en", "category": "content", "example_id": 1, "level": 1, "generation": "exact"}
JUDGED = {"lang": "en", "category": "content", "example_id": 2, "level": 1, "judge_output": "YES"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_followbench(tmp_path / "data")


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_golden_file_reproduces(benchmark_data: Path, tmp_path: Path) -> None:
    folder = benchmark_data / "followbench"
    rows = [json.loads(line) for line in (folder / "golden_visible.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = write(tmp_path / "in.jsonl", *({k: v for k, v in row.items() if k not in EXPECTED} for row in rows))
    report = score_file(asked, folder, items_out=tmp_path / "out.jsonl", judge_name="synthetic")
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(out) == len(rows) == report.rows
    wrong = [
        (row.get("id"), name)
        for row, mine in zip(rows, out, strict=True)
        for name in EXPECTED
        if name in row and row[name] != mine[name]
    ]
    assert wrong == []
    for row in rows:
        if row["kind"] == "aggregate" and row["expected_level_weighted_mean"]:
            (run,) = (run for run in report.runs if run.run == row["run"])
            assert run.published_level_weighted == pytest.approx(row["expected_level_weighted_mean"], abs=5e-9)


def test_one_answer_per_row_makes_a_whole_run(data: Path, tmp_path: Path) -> None:
    rows = [{**RULE, "level": level} for level in range(1, 6)]
    rows += [{**JUDGED, "level": level, "judge_output": str(["YES"] * level)} for level in range(1, 6)]
    rows += [{**RULE, "category": "example", "level": level, "generation": "<a>"} for level in range(1, 6)]
    report = score_file(write(tmp_path / "in.jsonl", *rows), data, judge_name="someone")
    (run,) = report.runs
    assert run.published is not None
    assert run.published["content"].hsr == (100.0,) * 5
    assert report.judge.warnings == ()


def test_rows_without_verdict_are_counted(data: Path, tmp_path: Path) -> None:
    rows = [
        {**RULE, "generation": None},
        {**RULE, "example_id": 2, "level": 2},  # the answer to a judged row, with no judge text beside it
        {**JUDGED, "judge_output": "I cannot say"},
        {"lang": "en", "level": 3, "judge_output": "?", "id": "loose"},
    ]
    report = score_file(write(tmp_path / "in.jsonl", *rows), data, items_out=tmp_path / "out.jsonl")
    assert report.unscored == {"no_answer": 1, "no_judge_text": 1, "judge_not_in_form": 2}
    assert report.runs[0].unscored["not_in_file"] == 15 - 3
    assert [score.unscored_share for score in report.judge_texts] == [1.0, 1.0]
    assert "not named" in report.judge.warnings[0]
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["unscored"] for row in out] == ["no_answer", "no_judge_text", "judge_not_in_form", "judge_not_in_form"]


def test_several_answers_to_an_item_need_ids(data: Path, tmp_path: Path) -> None:
    rows = [{**RULE, "id": "x1"}, {**RULE, "id": 2, "generation": "no"}, {**RULE, "id": "x3"}]
    (run,) = score_file(write(tmp_path / "in.jsonl", *rows), data).runs
    score = next(score for score in run.scores if score.metric == "hsr/content/1")
    assert (score.value, score.n, score.unscored) == (pytest.approx(2 / 3), 3, 1)
    assert run.published is None
    with pytest.raises(DataError, match=r"in\.jsonl, line 2: duplicate of line 1"):
        score_file(write(tmp_path / "in.jsonl", RULE, RULE), data)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**RULE, "lang": "fr"}, "'lang' must be one of en, zh"),
        ({**RULE, "example_id": 7}, "no content example 7"),
        ({**RULE, "level": 0}, "'level' must be 1 to 5"),
        ({**RULE, "generation": 3}, "'generation' must be text"),
        ({"lang": "en", "response": "x"}, "'kind' must be one of"),
        ({**RULE, "kind": "judge_parse"}, "scored by rule"),
        ({**RULE, "source": "xsum"}, "has source 'E2E'"),
        ({"kind": "rule", "lang": "en", "category": "content", "example_id": 1, "level": 1}, "'generation' is missing"),
        ({"lang": "en", "run": "r", "generations": {"content": {"9": {"1": "x"}}}}, r"generations\.content\.9\.1"),
        ({"lang": "en", "run": "r", "generations": {"content": []}}, "must be an object"),
    ],
)
def test_wrong_rows_name_file_and_line(data: Path, tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "in.jsonl", JUDGED, row)
    with pytest.raises(DataError, match=rf"in\.jsonl, line 2.*{message}"):
        score_file(path, data, items_out=tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("*out*"))


def test_gzip_is_read(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(RULE).encode() + b"\n"))
    assert score_file(path, data).rows == 1


def test_missing_level_in_the_data_is_named(data: Path, tmp_path: Path) -> None:
    path = data / "data" / "content_constraints.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(rows[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="content example 2 lacks level 5"):
        score_file(write(tmp_path / "in.jsonl", RULE), data)
