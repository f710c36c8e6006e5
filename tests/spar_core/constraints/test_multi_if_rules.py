"""Multi-IF's own rules, by hand: words and sentences by language, and quotation marks."""

import pytest

from spar_core.constraints import check, get
from spar_core.constraints.multilingual.multi_if import KINDS, count_sentences, count_words
from spar_core.constraints.text_view import TextView
from spar_core.records import Constraint

CHINESE = "今天天气很好，我们去公园散步吧。"  # 14 characters between marks
HINDI = "यह एक सुंदर दिन है। क्या आप ठीक हैं? हाँ! मैं ठीक हूँ।"


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        (CHINESE, "zh-cn", 14),
        (CHINESE + " Python 3 很好", "zh-cn", 18),  # two Latin words, two characters more
        (CHINESE + "😀👍🏽", "zh-cn", 16),  # an emoji of two characters is one
        ("これはテストです。今日は天気がいいですね。", "ja", 19),
        ("It's a well-known fact, isn't it? Yes indeed it is.", "en", 13),  # apostrophes and hyphens split
        ("C'est une belle journée, n'est-ce pas ?", "fr", 9),
    ],
)
def test_words_by_language(text: str, language: str, words: int) -> None:
    view = TextView(text)
    assert view.language == language
    assert count_words(view) == words


@pytest.mark.parametrize(
    ("text", "language", "sentences"),
    [
        ("今天天气很好。我们去公园吧！好吗？好", "zh-cn", 4),
        ("今天天气很好。。我们去公园散步吧。\n\n明天见", "zh-cn", 3),  # doubled marks end nothing; a line end does
        (HINDI, "hi", 4),
        ("यह एक सुंदर दिन है।\nयह एक बड़ा घर है\n", "hi", 2),
    ],
)
def test_sentences_by_language(text: str, language: str, sentences: int) -> None:
    view = TextView(text)
    assert view.language == language
    assert count_sentences(view) == sentences


def test_other_languages_are_cut_by_the_english_model(benchmark_data) -> None:
    view = TextView("Il fait beau aujourd'hui. Nous allons au parc avec Mr. Dupont. Et toi ?")
    assert view.language == "fr"
    assert count_sentences(view) == 3


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ('"hello"', True),
        (" \u201c你好\u201d\n", True),
        ("「你好」", True),
        ("\u201c你好」", False),  # the marks must belong together
        ("«bonjour»", False),
        ('"', False),
        ('"hello" she said', False),
    ],
)
def test_quotation_marks(text: str, met: bool) -> None:
    assert check(Constraint.create("multi_if:startend:quotation"), text) is met


def test_counts_are_compared_as_in_ifeval() -> None:
    words = Constraint.create("multi_if:length_constraints:number_words", relation="at least", num_words=14)
    fewer = Constraint.create("multi_if:length_constraints:number_words", relation="less than", num_words=14)
    assert (check(words, CHINESE), check(fewer, CHINESE)) == (True, False)
    sentences = Constraint.create("multi_if:length_constraints:number_sentences", relation="less than", num_sentences=4)
    assert check(sentences, HINDI) is False


def test_the_kinds_score_and_are_not_drawn() -> None:
    assert all(get(f"multi_if:{kind}").sampler is None for kind in KINDS)
