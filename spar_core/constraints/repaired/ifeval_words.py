"""Repaired rules of IFEval's kinds about words, case and language. Each says what the reference does instead."""

import re
from typing import Final

from spar_core.constraints import language
from spar_core.constraints.kind import Arguments, Rule, compare
from spar_core.constraints.text_view import TextView

_DASHES: Final = str.maketrans(dict.fromkeys("\u2013\u2014/", " "))
_WITHOUT_SPACES: Final = "\u0e00"  # Thai, and after it the scripts of China and Japan
_CASED: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_COMMAS: Final = re.compile("[,\u060c\u3001\ufe10\ufe50\uff0c\uff64]")
_CHINESE: Final = frozenset({"zh-cn", "zh-tw"})


def whole_words(word: str, text: str) -> int:
    """How often a word or phrase stands alone, whatever its case: not as a part of a longer word, not as a pattern.

    Of scripts that put no spaces between words, every occurrence counts.
    """
    if word and max(word) >= _WITHOUT_SPACES:
        return text.count(word.strip())
    return len(re.findall(rf"(?<!\w){re.escape(word.strip())}(?!\w)", text, re.IGNORECASE))


def _existence(text: TextView, bound: Arguments) -> bool:
    """Keywords. The reference takes parts of words, and the keyword as a regular expression."""
    return all(whole_words(word, text.text) for word in bound["keywords"])


def _frequency(text: TextView, bound: Arguments) -> bool:
    """How often a word appears. The reference counts parts of words, and the word as a regular expression."""
    return compare(bound["relation"], whole_words(bound["keyword"], text.text), bound["frequency"])


def _forbidden_words(text: TextView, bound: Arguments) -> bool:
    """Words. The reference takes them as regular expressions, and misses one that begins or ends with a sign."""
    return not any(whole_words(word, text.text) for word in bound["forbidden_words"])


def _number_words(text: TextView, bound: Arguments) -> bool:
    """Words. The reference counts "don't" and "well-known" as two."""
    words = text.text.translate(_DASHES).split()
    return compare(bound["relation"], sum(any(map(str.isalnum, word)) for word in words), bound["num_words"])


def _capital_words(text: TextView, bound: Arguments) -> bool:
    """Words in all capitals. The reference counts "I", "A" and "U.S.", and "DON'T" as two."""
    found = [word for word in _CASED.findall(text.text) if len(word) > 1 and word.isupper()]
    return compare(bound["capital_relation"], len(found), bound["capital_frequency"])


def _all_capital(text: TextView, _bound: Arguments) -> bool:
    """English in capitals. The reference asks the language of the capitals, which its detector does not know."""
    if not text.text.isupper():
        return False
    return not text.detects_language or language.detect(text.lowered) in ("en", None)


def _in_language(text: TextView, bound: Arguments) -> bool:
    """A language. The reference knows no Chinese under `zh`, and passes a text without a single letter."""
    asked = bound["language"]
    return text.language in (_CHINESE if asked == "zh" else {asked})


def _no_comma(text: TextView, _bound: Arguments) -> bool:
    """No commas. The reference lets those of other scripts pass."""
    return _COMMAS.search(text.text) is None


RULES: Final[dict[str, Rule]] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _all_capital,
    "keywords:existence": _existence,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:frequency": _frequency,
    "language:response_language": _in_language,
    "length_constraints:number_words": _number_words,
    "punctuation:no_comma": _no_comma,
}
