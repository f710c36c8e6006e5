import json
from pathlib import Path

import pytest

from spar_core.evaluation.followbench import FollowBenchItem, ItemKey, check_rule, load_followbench


def item(source: str, level: int, target: str = "", language: str = "en", category: str = "content", example: int = 9):
    return FollowBenchItem(language, ItemKey(category, example, level), source, "", target, True)


def longest_level(source: str, text: str, language: str = "en", **place: object) -> int:
    """The highest level whose conditions, and all below, the text meets."""
    met = [check_rule(item(source, level, language=language, **place), text) for level in range(1, 6)]
    assert met == sorted(met, reverse=True)
    return sum(met)


def test_golden_rule_rows_reproduce(benchmark_data: Path) -> None:
    folder = benchmark_data / "followbench"
    benches = {language: load_followbench(folder, language) for language in ("en", "zh")}
    wrong, checked = [], 0
    with (folder / "golden_visible.jsonl").open(encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            if row["kind"] == "rule":
                key = ItemKey(row["category"], row["example_id"], row["level"])
                checked += 1
                if check_rule(benches[row["lang"]].items[key], row["generation"]) != row["expected"]:
                    wrong.append(row["id"])
    assert wrong == []
    assert checked == 2318


@pytest.mark.parametrize(
    ("source", "target", "text", "met"),
    [
        ("E2E", "name[A]", "name[A]", True),
        ("E2E", "name[A]", "name[A] ", False),
        ("WIKIEVENTS", "x\ny", "y\ny", True),
        ("WIKIEVENTS", "x\ny", "x\n", False),
        ("CONLL2003", "['Bonn', 'France']", "France", True),
        ("CONLL2003", "['Bonn', 'France']", "Bonn, France", False),
        ("BBH_logical", "(B)", "(A) or rather (B).", True),
        ("BBH_logical", "(B)", "(B) beats (A)", False),
        ("BBH_logical", "(B)", "B", False),
        ("BBH_time", "01/02/2003", "not 02/02/2003 but 01/02/2003", True),
        ("self_made_space", "2nd floor", "the 2nd floor.", True),
        ("gsm_8k", "$14", "$7 and then $14.00", True),
        ("gsm_8k", "$1400", "$1,400", False),
    ],
)
def test_answers_by_target(source: str, target: str, text: str, met: bool) -> None:
    assert check_rule(item(source, 3, target), text) is met


def test_summary_conditions_accumulate() -> None:
    # Piece 3 needs "has" or "have" before a word at level 5 only; piece 2 must not say "lavish" from level 4.
    assert longest_level("cnn_dailymail", "Potter wins. An actor. The films have won.") == 5
    assert longest_level("cnn_dailymail", "Potter wins. An actor. The films won.") == 4
    assert longest_level("cnn_dailymail", "Potter wins. A lavish actor. The films have won.") == 3
    assert longest_level("cnn_dailymail", "Potter wins. An actor. Movies have won.") == 2
    assert longest_level("cnn_dailymail", "Potter wins. An actor. " + "films " * 15) == 1
    assert longest_level("cnn_dailymail", "Potter wins. An actor. The films have won.\n") == 0  # a blank piece counts


def test_space_tokens_are_not_words() -> None:
    assert longest_level("gigaword", "a b c d e f in h") == 5
    assert longest_level("gigaword", "a b  c d e in h") == 5  # two spaces make an empty token
    assert longest_level("gigaword", "a b\nc d e f in h") == 0  # a newline separates nothing


def test_chinese_counts_characters_and_any_numeral() -> None:
    assert longest_level("gigaword", "我们今天在北京走", "zh") == 5
    assert longest_level("gigaword", "我们今天在二楼走", "zh") == 2  # 二 is numeric


def test_present_continuous_asks_for_whole_words() -> None:
    assert longest_level("xsum", "The operation is running now") == 5
    assert longest_level("xsum", "The steam rising is an operation") == 3
    assert longest_level("xsum", "The operation is ing") == 3  # the ending alone is no verb


def test_one_punctuation_mark() -> None:
    assert longest_level("samsum", "He puts stuff off.") == 5
    assert longest_level("samsum", "He puts stuff off, daily.") == 4
    assert longest_level("samsum", "Stuff? He PROCRASTinates") == 0
    assert longest_level("samsum", "He PROCRASTinates on stuff.") == 3


def test_arxiv_keywords_are_whole_words() -> None:
    assert longest_level("arxiv", "We study activations of transformers") == 5
    assert longest_level("arxiv", "We study activations of a transformer") == 4


def suggestions(words: int, count: int = 3, marker: str = "{}. ", end: str = "") -> str:
    body = " ".join(["word"] * words) + "."
    return "\n\n".join(marker.format(i) + body for i in range(1, count + 1)) + end


def test_english_suggestions_cannot_pass_level_4() -> None:
    place = {"category": "format", "example": 22}
    assert check_rule(item("helpful_base", 3, **place), suggestions(21, marker=""))
    assert not check_rule(item("helpful_base", 3, **place), suggestions(20, marker=""))
    assert not check_rule(item("helpful_base", 4, **place), suggestions(21))


def test_chinese_suggestions_can_pass_level_5() -> None:
    place = {"category": "format", "example": 22, "language": "zh"}
    four = "\n\n".join(f"{i}." + "字" * 20 + "。" for i in range(1, 4)) + "\n\n4." + "字" * 20 + "这些是建议"
    assert check_rule(item("helpful_base", 5, **place), four)
    assert not check_rule(item("helpful_base", 5, **place), four + "。")


def test_five_benefits() -> None:
    place = {"category": "format", "example": 30}
    line = "**{} Jobs:** one two three four five six seven {} nine ten."
    good = "\n".join(line.format(i, "eight") for i in range(1, 6))
    assert longest_level("koala", good, **place) == 5
    assert longest_level("koala", good.replace("eight", "real-ly"), **place) == 4
    assert longest_level("koala", good.replace("one ", "one more word and two more "), **place) == 3
    assert longest_level("koala", good.replace("**5", "5"), **place) == 1


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("{'a': 'x'}", True),
        ("{'a': ''}", True),
        ("{'a': 'x\ny'}", False),
        ("{'a': 'x'}\n", False),
        ("So: {'a': 'x'}", False),
    ],
)
def test_example_template(text: str, met: bool) -> None:
    target = "{instruction}\n{{'a': '{answer}'}}"
    assert check_rule(item("boolq", 1, target, category="example"), text) is met


def test_judged_rows_are_refused() -> None:
    judged = FollowBenchItem("en", ItemKey("style", 1, 1), "vicuna", "", "", False)
    with pytest.raises(ValueError, match="judge"):
        check_rule(judged, "text")
