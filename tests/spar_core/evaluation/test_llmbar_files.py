import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from llmbar_folder import SUBSETS, write_llmbar

from spar_core.errors import DataError
from spar_core.evaluation.llmbar import score_file

ROW = {"subset": "Natural", "index": 0, "evaluator": "E", "strategy": "Vanilla", "raw": "Output (a)"}
ROW |= {"raw_swapped": "Output (b)"}

# Strategy, then accuracy and agreement in percent: adversarial and overall averages of the benchmark's table.
PUBLISHED = {
    "gpt4": [("CoT", (76.6, 87.6), (80.2, 88.3)), ("Rating_NoRules", (74.0, 76.9), (77.2, 79.1))],
    "palm2": [("CoT", (55.1, 39.6), (58.7, 44.4)), ("Swap_CoT", (59.6, 81.3), (64.3, 83.0))],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_llmbar(tmp_path / "data")


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("evaluator", ["gpt4", "palm2"])
def test_golden_files_reproduce(benchmark_data: Path, tmp_path: Path, evaluator: str) -> None:
    folder = benchmark_data / "llmbar"
    golden = folder / f"golden_{evaluator}.jsonl.gz"
    report = score_file(golden, folder, items_out=tmp_path / "out.jsonl")
    with gzip.open(golden, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    winners = [(row["winner"], row["winner_swapped"]) for row in rows]
    assert [(row["winner"], row["winner_swapped"]) for row in read(tmp_path / "out.jsonl")] == winners

    runs = {(run.evaluator, run.strategy): run for run in report.runs}
    statistics = read(folder / f"statistics_{evaluator}.jsonl")
    assert len(statistics) == 5 * len(runs)
    for row in statistics:
        mine = asdict(runs[row["evaluator"], row["strategy"]].statistics[row["subset"]])
        assert {name: value for name, value in mine.items() if name in row} == {
            name: value for name, value in row.items() if name in mine
        }
    assert all(run.data_is_published and not run.missing for run in report.runs)
    for strategy, adversarial, overall in PUBLISHED[evaluator]:
        run = runs[rows[0]["evaluator"], strategy]
        assert run.adversarial is not None
        assert run.overall is not None
        assert tuple(round(value, 1) for value in run.adversarial) == adversarial
        assert tuple(round(value, 1) for value in run.overall) == overall


def test_unparsed_is_wrong_as_published_and_unscored_in_the_scores(data: Path, tmp_path: Path) -> None:
    rows = [{**ROW}, {**ROW, "index": 1, "raw": "Output (b)", "raw_swapped": "neither"}]
    report = score_file(write(tmp_path / "in.jsonl", *rows), data)
    (run,) = report.runs
    natural = run.statistics["Natural"]
    # Instance 0 (label 1): "1", "1". Instance 1 (label 2): "2", null.
    assert (natural.correct_unswapped, natural.correct_swapped, natural.correct_both, natural.equal) == (2, 1, 1, 1)
    assert (natural.accuracy_pct, natural.agreement_pct, natural.unparsed_swapped) == (75.0, 50.0, 1)
    # Coded "1" or not: (1, 1) and (0, 0), full agreement against chance of one half.
    assert natural.kappa_agreement == 1.0
    accuracy, agreement = run.scores
    assert (accuracy.metric, accuracy.value, accuracy.n, accuracy.unscored) == ("accuracy/Natural", 1.0, 3, 1)
    assert (agreement.metric, agreement.value, agreement.n, agreement.unscored) == ("agreement/Natural", 1.0, 1, 1)
    assert report.unscored == {"unparsed": 1}
    assert run.overall is None
    assert sum(run.missing.values()) == 8


def test_averages_weigh_subsets_alike(data: Path, tmp_path: Path) -> None:
    rows = [{**ROW, "subset": subset, "index": index} for subset in SUBSETS for index in (0, 1)]
    rows = [row for row in rows if (row["subset"], row["index"]) != ("Natural", 1)]
    (run,) = score_file(write(tmp_path / "in.jsonl", *rows), data).runs
    # Always "1": right on label 1 only. Natural has one instance (100 %), each adversarial subset two (50 %).
    assert run.overall == (60.0, 100.0)
    assert run.adversarial == (50.0, 100.0)
    scores = {score.metric: score.value for score in run.scores}
    assert scores["accuracy/overall"] == pytest.approx(0.6)
    assert scores["agreement/adversarial"] == 1.0


def test_ratings_that_are_no_numbers_are_counted(data: Path, tmp_path: Path) -> None:
    place = {"subset": "Natural", "strategy": "Rating"}
    rows = [
        {**place, "index": 0, "raw_score_1": "8", "raw_score_2": "8"},
        {**place, "index": 1, "raw_score_1": "eight", "raw_score_2": "2"},
    ]
    report = score_file(write(tmp_path / "in.jsonl", *rows), data, items_out=tmp_path / "out.jsonl")
    (run,) = report.runs
    assert (run.statistics["Natural"].accuracy_pct, run.statistics["Natural"].unreadable_ratings) == (50.0, 1)
    assert run.scores[0].unscored == 2
    assert report.unscored == {"rating_not_a_number": 2}
    assert [row["unscored"] for row in read(tmp_path / "out.jsonl")] == [None, "rating_not_a_number"]


def test_swap_takes_the_second_stage_only_on_conflict(data: Path, tmp_path: Path) -> None:
    a, b = "Output (a) is better.", "Output (b) is better."
    conflicting, agreeing = {"raw": a, "raw_swapped": a}, {"raw": a, "raw_swapped": b}
    second = {"raw": "Output (b)", "raw_swapped": "Output (a)"}
    place = {"subset": "Natural", "strategy": "Swap", "index": 0}
    rows = [
        {**place, "id": "1", "stages": [conflicting, second]},
        {**place, "id": "2", "stages": [agreeing]},
        {**place, "id": "3", "stages": [conflicting]},
    ]
    report = score_file(write(tmp_path / "in.jsonl", *rows), data, items_out=tmp_path / "out.jsonl")
    out = read(tmp_path / "out.jsonl")
    assert [(row["winner"], row["winner_swapped"]) for row in out] == [("2", "2"), ("1", "1"), (None, None)]
    assert report.unscored == {"second_stage_missing": 2}
    assert out[0]["stages"] == [{"winner": "1", "winner_swapped": "2"}, {"winner": "2", "winner_swapped": "2"}]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "index": 2}, "instances 0 to 1, not 2"),
        ({**ROW, "index": True}, "'index' must be a whole number"),
        ({**ROW, "subset": "Other"}, "'subset' must be one of"),
        ({**ROW, "label": 2}, "is 1 in the data"),
        ({**ROW, "parse": "guess"}, "'parse' must be one of"),
        ({"subset": "Natural", "index": 0, "answer": "x"}, "'raw' is missing"),
        ({"subset": "Natural", "index": 0, "stages": [{"raw": "x"}]}, "stage 1: column 'raw_swapped' is missing"),
        ({"subset": "Natural", "index": 0, "stages": []}, "one or two objects"),
        ({**ROW, "index": 1, "strategy": "CoT"}, "duplicate of line 1"),
    ],
)
def test_wrong_rows_name_file_and_line(data: Path, tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "in.jsonl", {**ROW, "index": 1, "strategy": "CoT"}, row)
    with pytest.raises(DataError, match=rf"in\.jsonl, line 2.*{message}"):
        score_file(path, data)
