"""M-IFEval's rules on the scripts of a Japanese text (`ja:letters:...`): kanji, hiragana, katakana, digits.

Source: lightblue-tech/M-IFEval (Apache 2.0), arXiv 2502.04688.
"""

import re
import unicodedata

from spar_core.constraints import arguments
from spar_core.constraints.bench_counts import score_only
from spar_core.constraints.kind import Arguments, compare
from spar_core.constraints.multilingual.adopted import relation_of
from spar_core.constraints.text_view import TextView

RELATIONS = {"未満": "less than", "以上": "at least"}
_KANJI = r"[\u4e00-\u9faf]"
_KANJI_LETTER = re.compile(_KANJI)
_KANJI_RUN = re.compile(f"{_KANJI}+")
_KANJI_READ = re.compile(f"(?<!{_KANJI}){_KANJI}++\uff08[ぁ-ん]+\uff09")
_DIGIT = re.compile(r"\d")


def _furigana(text: TextView, _bound: Arguments) -> bool:
    """Every run of kanji is followed by its reading in hiragana, in full-width brackets."""
    return len(_KANJI_RUN.findall(text.text)) == len(_KANJI_READ.findall(text.text))


def _kanji(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], len(_KANJI_LETTER.findall(text.text)), bound["kanji_limit"])


def _no_digits(text: TextView, _bound: Arguments) -> bool:
    return _DIGIT.search(text.text) is None


def _no_hiragana(text: TextView, _bound: Arguments) -> bool:
    return not any("ぁ" <= letter <= "ゖ" for letter in text.text)


def _no_katakana(text: TextView, _bound: Arguments) -> bool:
    return not any("ァ" <= letter <= "ヺ" or "ｦ" <= letter <= "ﾟ" for letter in text.text)


def _hiragana_only(text: TextView, _bound: Arguments) -> bool:
    return all("ぁ" <= one <= "ん" or one == "ー" for one in text.text if _is_letter(one))


def _katakana_only(text: TextView, _bound: Arguments) -> bool:
    return all("ァ" <= one <= "ン" or one in "ー・" or "ｦ" <= one <= "ﾟ" for one in text.text if _is_letter(one))


def _is_letter(character: str) -> bool:
    return unicodedata.category(character).startswith("L")


score_only("ja:letters:furigana", _furigana, wording="Give the reading of all kanji in full-width brackets.")
score_only("ja:letters:kansuuji", _no_digits, wording="Write all numbers in kanji.")
score_only("ja:letters:no_katakana", _no_katakana, wording="Use no katakana.")
score_only("ja:letters:katakana_only", _katakana_only, wording="Use katakana alone.")
score_only("ja:letters:no_hiragana", _no_hiragana, wording="Use no hiragana.")
score_only("ja:letters:hiragana_only", _hiragana_only, wording="Use hiragana alone.")
score_only(
    "ja:letters:kanji",
    _kanji,
    relation_of("relation", RELATIONS),
    arguments.number("kanji_limit"),
    wording="Use {kanji_limit} kanji ({relation}).",
)
