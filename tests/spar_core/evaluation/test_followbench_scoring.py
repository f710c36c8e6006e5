from pathlib import Path

import pytest
from followbench_folder import write_followbench

from spar_core.evaluation.followbench import FollowBench, ItemKey, load_followbench, score_answers
from spar_core.evaluation.scores import Score


@pytest.fixture
def bench(tmp_path: Path) -> FollowBench:
    return load_followbench(write_followbench(tmp_path), "en")


def answers(levels_met: int, example: str = "<yes>") -> dict[ItemKey, str | None]:
    rule = {ItemKey("content", 1, level): "exact" if level <= levels_met else "other" for level in range(1, 6)}
    return {**rule, **{ItemKey("example", 1, level): example for level in range(1, 6)}}


def judge(*texts: str | None) -> dict[ItemKey, str | None]:
    return {ItemKey("content", 2, level): text for level, text in enumerate(texts, 1)}


def by_metric(scores: tuple[Score, ...]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_scores_by_hand(bench: FollowBench) -> None:
    texts = ("YES", "['YES', 'NO']", "no list", "['YES', 'YES', 'YES', 'YES']", "['NO', 'NO', 'NO', 'NO', 'YES']")
    report, outcomes = score_answers(bench, answers(levels_met=3), judge(*texts))
    assert report.published is not None
    content = report.published["content"]
    # hard: rule 1 1 1 0 0; judged 1 0 -1 1 0 (the text without a list enters as -1). soft: judged 1, 1/2, -1, 1, 1/5.
    assert content.hsr == (100.0, 50.0, 0.0, 50.0, 0.0)
    assert content.ssr == (100.0, 75.0, 0.0, 50.0, 10.0)
    assert content.csl == 2.0  # runs of 3 and 1
    assert report.published["example"].ssr is None
    assert report.published["example"].csl == 5.0

    scores = by_metric(report.scores)
    level_3 = scores["hsr/content/3"]
    assert (level_3.value, level_3.n, level_3.unscored, level_3.unscored_share) == (1.0, 1, 1, 0.5)
    assert scores["ssr/content/2"].value == 0.75
    assert scores["csl/content"].value == 2.0
    assert report.unscored == {"judge_not_in_form": 1}
    assert sum(outcome.verdict is None for outcome in outcomes) == 1


def test_a_run_cut_by_an_unscored_row_has_no_length(bench: FollowBench) -> None:
    report, _ = score_answers(bench, answers(levels_met=5), judge("YES", None, "x", "x", "x"))
    csl = by_metric(report.scores)["csl/content"]
    assert (csl.value, csl.n, csl.unscored) == (5.0, 1, 1)
    report, _ = score_answers(bench, answers(levels_met=5), judge("NO", None, "x", "x", "x"))
    csl = by_metric(report.scores)["csl/content"]
    assert (csl.value, csl.n, csl.unscored) == (2.5, 2, 0)


def test_absent_answers_are_unscored(bench: FollowBench) -> None:
    report, _ = score_answers(bench, {}, {})
    assert report.unscored == {"no_answer": 10, "no_judge_text": 5}
    assert all(score.value is None and score.ci_low is None for score in report.scores)


def test_intervals_hold_the_value(benchmark_data: Path) -> None:
    bench = load_followbench(benchmark_data / "followbench", "en")
    always = {item.key: "text" for item in bench.asked()}
    verdicts = {item.key: str(["YES", "NO", "YES", "NO", "YES"][: item.key.level]) for item in bench.asked()}
    report, _ = score_answers(bench, always, verdicts)
    for score in report.scores:
        assert score.value is not None
        assert score.ci_low is not None
        assert score.ci_high is not None
        assert score.ci_low <= score.value <= score.ci_high
