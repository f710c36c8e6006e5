import json
from pathlib import Path

import pytest
from followbench_folder import write_followbench

from spar_core.evaluation.followbench import ItemKey, judge_messages, load_followbench, parse_judge


def test_golden_judge_texts_reproduce(benchmark_data: Path) -> None:
    wrong, checked = [], 0
    with (benchmark_data / "followbench" / "golden_visible.jsonl").open(encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            if row["kind"] == "judge_parse":
                checked += 1
                read = parse_judge(row["judge_output"], row["level"], row["lang"]) or (-1, -1)
                if tuple(read) != (row["hard"], row["soft"]):
                    wrong.append(row["id"])
    assert wrong == []
    assert checked == 350


@pytest.mark.parametrize(
    ("text", "level", "english", "chinese"),
    [
        ("['YES', 'PARTIAL', 'N/A']", 3, (0, 1 / 3), None),
        ("['YES', 'PARTIALLY']", 2, None, (0, 0.5)),
        ("['YES', 'YES', 'NO']", 2, None, (1, 1.0)),
        ("[YES, NO]", 2, None, (0, 0.5)),
        ("[“YES”, “YES”]", 2, None, (1, 1.0)),
        ("UNKNOWN", 1, (0, 0.0), (0, 0.0)),
        ("NO, because YES is wrong", 1, (1, 1.0), (1, 1.0)),
        ("Yes", 1, None, None),
        ("['YES'", 2, None, None),
        ("YES\nDone", 1, None, None),
        ("['YES', ['YES']]", 2, None, None),
    ],
)
def test_forms(text: str, level: int, english: object, chinese: object) -> None:
    assert parse_judge(text, level, "en") == english
    assert parse_judge(text, level, "zh") == chinese


@pytest.mark.parametrize(
    "text",
    [
        "[" * 9_000 + "]",
        "[" + "1+" * 5_000 + "1]",
        "[" + "-" * 15_000 + "1]",
        "[\x00]",
        "[{[]: 1}, 2]",
        "[\ud800]",
        "[" + "9" * 9_000 + ", 1]",
    ],
)
def test_hostile_literals_are_only_unreadable(text: str) -> None:
    assert parse_judge(text, 2, "en") is None
    assert parse_judge(text, 2, "zh") is None


def test_judge_text_is_never_executed(tmp_path: Path) -> None:
    target = tmp_path / "made"
    text = f"[open({str(target)!r}, 'w'), 'YES']"
    assert parse_judge(text, 2, "en") is None
    assert not target.exists()


def test_prompt_shows_the_whole_path_in_order(tmp_path: Path) -> None:
    bench = load_followbench(write_followbench(tmp_path), "en")
    (message,) = judge_messages(bench, bench.items[ItemKey("content", 2, 2)], "my {{answer}} text")
    parts = ["content constraint", "2 constraints", "content 2 wish 0", "content 2 wish 1", "content 2 wish 2"]
    parts += ["my {{answer}} text", "1. ", "2. ", "3. ", "list of 2 strings"]
    positions, start = [], 0
    for part in parts:
        start = message.content.index(part, start)
        positions.append(start)
    assert positions == sorted(positions)
    assert "wish 3" not in message.content


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_judged_row_has_a_prompt(benchmark_data: Path, language: str) -> None:
    bench = load_followbench(benchmark_data / "followbench", language)
    judged = [item for item in bench.asked() if not item.by_rule]
    assert bench.is_published
    assert len(judged) == {"en": 470, "zh": 460}[language]
    for item in judged:
        (message,) = judge_messages(bench, item, "ANSWER")
        assert message.content.count(item.instruction) >= 1
        assert message.content.rindex("ANSWER") > message.content.index(item.instruction)
