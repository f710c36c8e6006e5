"""Repaired rules of IFBench's kinds. Each says what the reference does instead."""

import re
import string
from typing import Final

from spar_core.constraints.kind import Arguments, Rule
from spar_core.constraints.repaired.ifeval_words import whole_words
from spar_core.constraints.text_view import TextView

_EDGES: Final = string.punctuation + " "
_CONJUNCTIONS: Final = frozenset({"and", "but", "for", "nor", "or", "so", "yet"})
_COUNTS: Final = {"keyword1": 1, "keyword2": 2, "keyword3": 3, "keyword4": 5, "keyword5": 7}
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_BULLET: Final = re.compile(r"^[ \t]*([*-])(?![*-])[ \t]*(?=\S)", re.MULTILINE)
_TEMPLATE: Final = re.compile(r"\W*My Answer:\W*\w.*\bMy Conclusion:\W*\w.*\bFuture Outlook:\W*\w.*", re.DOTALL)


def _bare(text: str) -> list[str]:
    words = (word.strip(_EDGES).lower() for word in text.split())
    return [word for word in words if any(map(str.isalnum, word))]


def _conjunctions(text: TextView, bound: Arguments) -> bool:
    """Different conjunctions. The reference counts "and", "And" and "and," as three."""
    return len(_CONJUNCTIONS & set(_bare(text.text))) >= int(bound["small_n"])


def _keyword_counts(text: TextView, bound: Arguments) -> bool:
    """Words. The reference counts parts of words."""
    return all(whole_words(bound[name], text.text) == count for name, count in _COUNTS.items())


def _numbers(text: TextView, bound: Arguments) -> bool:
    """Numbers. The reference takes 1914-1918 for one, as it drops signs before it counts."""
    return len(_NUMBER.findall(text.text)) == int(bound["N"])


def _unique_words(text: TextView, bound: Arguments) -> bool:
    """Words. The reference counts a lone dash as one."""
    return len(set(_bare(text.text))) >= int(bound["N"])


def _equal_sentences(text: TextView, _bound: Arguments) -> bool:
    """Three sentences of equal length, all different words. The reference never looks at the words."""
    lengths = {len(sentence.strip()) for sentence in text.sentences}
    words = _bare(text.text)
    return len(text.sentences) == 3 and len(lengths) == 1 and len(words) == len(set(words))


def _endings(text: TextView) -> tuple[int, int, int]:
    last = [sentence[-1:] for sentence in text.sentences]
    return last.count("."), last.count("?"), last.count("!")


def _two_to_one(text: TextView, _bound: Arguments) -> bool:
    """Two statements for each question. The reference takes a text that has neither."""
    statements, questions, _ = _endings(text)
    return questions > 0 and statements == 2 * questions


def _balanced(text: TextView, _bound: Arguments) -> bool:
    """As many of each sort. The reference takes a text that has none."""
    found = _endings(text)
    return found[0] > 0 and len(set(found)) == 1


def _sub_bullets(text: TextView, _bound: Arguments) -> bool:
    """Bullets with sub-bullets. The reference takes a text without bullets, and a hyphen for a sub-bullet."""
    marks = "".join(_BULLET.findall(text.text))
    return re.fullmatch(r"(?:\*-+)+", marks) is not None


def _template(text: TextView, _bound: Arguments) -> bool:
    """An exact template. The reference takes its headings in any order, anywhere, with nothing between."""
    return _TEMPLATE.fullmatch(text.stripped) is not None


def _repeat_with_change(text: TextView, bound: Arguments) -> bool:
    """The first word changed. The reference is content with another white space."""
    said, asked = text.text.split(), bound["prompt_to_repeat"].split()
    return bool(said[1:] == asked[1:] and said[:1] != asked[:1])


RULES: Final[dict[str, Rule]] = {
    "count:conjunctions": _conjunctions,
    "count:keywords_multiple": _keyword_counts,
    "count:numbers": _numbers,
    "count:unique_word_count": _unique_words,
    "format:output_template": _template,
    "format:sub-bullets": _sub_bullets,
    "ratio:sentence_balance": _balanced,
    "ratio:sentence_type": _two_to_one,
    "ratio:sentence_words": _equal_sentences,
    "repeat:repeat_change": _repeat_with_change,
}
