"""M-IFEval's Japanese rules, by hand."""

import pytest

from spar_core.constraints import check, kinds
from spar_core.errors import DataError
from spar_core.records import Constraint

LEAST, LESS = "以上", "未満"


def met(kind: str, text: str, **arguments: object) -> bool:
    return check(Constraint.create(f"ja:{kind}", **arguments), text)


@pytest.mark.parametrize(
    ("kind", "arguments", "passes", "fails"),
    [
        # A keyword is a word of the text, not a part of one.
        ("keywords:existence", {"keywords": ["猫"]}, "猫が好きです。", "ねこが好きです。"),
        ("keywords:existence", {"keywords": ["東京"]}, "東京に行く。", "京都に行く。"),
        ("keywords:frequency", {"keyword": "本", "frequency": 2, "relation": LEAST}, "本と本を読む。", "本を読む。"),
        ("keywords:frequency", {"keyword": "本", "frequency": 2, "relation": LESS}, "本を読む。", "本と本を読む。"),
        ("keywords:forbidden_words", {"forbidden_words": ["雨"]}, "晴れです。", "雨が降る。"),
        (
            "keywords:letter_frequency",
            {"letter": "か", "let_frequency": 2, "let_relation": LEAST},
            "かカ",
            "かが",
        ),
        ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LEAST}, "晴れだ。そう？", "晴れだ。"),
        # Quotations are not cut, and a line that ends in の goes on.
        (
            "length_constraints:number_sentences",
            {"num_sentences": 2, "relation": LESS},
            "「はい。」と言った。",
            "はい。そう。",
        ),
        ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LESS}, "私の\n本だ。", "私は\n本だ。"),
        ("length_constraints:number_letters", {"num_letters": 4, "relation": LESS}, "はい。", "はい。\n"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "一\n***\n二", "一"),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "最後"},
            "初め\n\n「最後に",
            "最後\n\n終わり",
        ),
        ("detectable_content:number_placeholders", {"num_placeholders": 1}, "[名前]", "［名前］"),
        ("detectable_content:postscript", {"postscript_marker": "追伸"}, "以上。\n追伸 また", "以上。"),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "p. s. また", "PS また"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "・一\n ・二\n・・三", "* 一\n* 二"),
        ("detectable_format:number_numbered_lists", {"num_items": 2}, "1. 一\n 2.\n3. 三\n4.四", "1. 一"),
        ("detectable_format:constrained_response", {}, "いいえ、違います。", "いいえ"),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "《一》《二》", "《一》《 》"),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "章", "num_sections": 2},
            "第1章 第２章",
            "第一章 第2章",
        ),
        ("detectable_format:json_format", {}, '{"名": 1}', "名"),
        ("detectable_format:title", {}, "『詩』です", "「詩」"),
        ("detectable_format:title", {}, "『 』『a』", "『 』"),
        ("combination:two_responses", {}, "はい ****** いいえ", "はい"),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Aは？"}, "Aは？ はい", "aは？ はい"),  # case counts
        ("startend:end_checker", {"end_phrase": "以上です。"}, "はい。以上です。」", "以上です。はい"),
        ("startend:quotation", {}, "「はい」", "『はい』"),
        ("startend:sentence_unified_end", {"ending": "です"}, "犬です。「猫だ。」は本です！", "犬です。猫だ。"),
        (
            "startend:sentence_unified_end",
            {"ending": "です"},
            "犬です。猫です",
            "犬です。\n",
        ),  # a line feed is a sentence
        ("detectable_format:nominal_ending", {"count": 1}, "私の好きな本。", "本です。"),
        ("letters:furigana", {}, "漢字（かんじ）を書（か）く", "漢字(かんじ)を書（か）く"),
        ("letters:furigana", {}, "ひらがな", "漢字"),
        ("letters:kansuuji", {}, "三つ", "３つ"),
        ("letters:no_katakana", {}, "ひらがな漢字", "ﾃｽﾄ"),
        ("letters:katakana_only", {}, "テスト・データー 1!", "テストだ"),
        ("letters:no_hiragana", {}, "漢字カナ", "漢字ゖ"),
        ("letters:hiragana_only", {}, "らーめん、1！", "ラーメン"),
        ("letters:kanji", {"kanji_limit": 3, "relation": LESS}, "漢字です", "漢字体"),
        ("punctuation:no_comma", {}, "はい, そう", "はい、そう"),
        ("punctuation:no_period", {}, "はい. そう", "はい。"),
    ],
)
def test_rules(kind: str, arguments: dict[str, object], passes: str, fails: str) -> None:
    assert met(kind, passes, **arguments) is True
    assert met(kind, fails, **arguments) is False


def test_language() -> None:
    assert met("language:response_language", "今日はとても天気がいいですね。", language="ja") is True
    assert met("language:response_language", "It is a very nice day today.", language="ja") is False


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("keywords:letter_frequency", {"letter": "a", "let_frequency": 1, "let_relation": LEAST}, "from ぁ to ん"),
        ("keywords:existence", {"keywords": []}, "one or more words"),
        ("letters:kanji", {"kanji_limit": 1, "relation": "at least"}, "'未満' or '以上'"),
    ],
)
def test_wrong_arguments_are_told(kind: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        met(kind, "はい", **arguments)


def test_there_are_33_kinds_and_none_is_drawn() -> None:
    met("punctuation:no_comma", "はい")
    assert len(kinds("ja:")) == 33
    assert all(kind.sampler is None for kind in kinds("ja:"))
