"""The rules in which Multi-IF differs from IFEval: words and sentences by the detected language, more quotation marks.

Source: facebookresearch/Multi-IF (Apache 2.0), arXiv 2410.15553. A text in Thai, which is none of the benchmark's
languages, is counted by the rules for the others (the published verifier segments it with another library).
"""

import re

from spar_core.constraints import arguments
from spar_core.constraints.kind import Arguments, Kind, Wording, compare
from spar_core.constraints.multilingual.resources import emoji_tools
from spar_core.constraints.registry import get, register
from spar_core.constraints.text_view import TextView

PREFIX = "multi_if"
QUOTES = (('"', '"'), ("\u201c", "\u201d"), ("\u300c", "\u300d"))
_CHINESE_OR_JAPANESE = ("zh", "zh-cn", "zh-tw", "ja")
# Full stops, question and exclamation marks of either width.
_EAST_ASIAN_SENTENCE = re.compile(r"[^!?\u3002.\uff01\uff1f\uff0e\n]+")
_HINDI_END = re.compile(r"(?<=[\u0964!?])\s*")
_SINGLE_WORDS = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf\u3040-\u30ff\uac00-\ud7af]")
_MARKS = re.compile(
    r"""[\\.!?\uff0e/_,{}<>:;$%^&*(+"'\u2014\uff01\uff0c\u3002\uff1f\u3001`~@#\uffe5\u2026\uff08\uff09\uff1a\uff1b"""
    r"""\u300a\u300b\u201c\u201d()\[\]\u00bb\u3014\u3015\-\u300c\u300d]+"""
)


def count_words(text: TextView) -> int:
    """Runs of word characters; in Chinese and Japanese texts each of their characters, each emoji, and other words.

    Raises:
        DataError: the emoji package is not installed.
    """
    if text.language not in _CHINESE_OR_JAPANESE:
        return text.word_count
    tools = emoji_tools()
    bare = _MARKS.sub("", text.text)
    emoji = tools.count(bare)
    words, characters = _SINGLE_WORDS.subn(" ", tools.without(bare))
    return len(words.split()) + characters + emoji


def count_sentences(text: TextView) -> int:
    """Sentences: of Hindi by danda and marks, of Chinese and Japanese by marks, of others by NLTK's English Punkt.

    Raises:
        DataError: the NLTK data is missing.
    """
    if text.language == "hi":
        return sum(1 for part in _HINDI_END.split(text.text) if part.strip())
    if text.language in _CHINESE_OR_JAPANESE:
        return sum(len(_EAST_ASIAN_SENTENCE.findall(line.strip())) for line in text.text.splitlines())
    return len(text.sentences)


def _words(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], count_words(text), bound["num_words"])


def _sentences(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], count_sentences(text), bound["num_sentences"])


def _quotation(text: TextView, _bound: Arguments) -> bool:
    whole = text.stripped
    return len(whole) > 1 and (whole[0], whole[-1]) in QUOTES


def _wording(of: str) -> Wording:
    return get(of).wording


for _kind_id, _rule, _declared in (
    ("length_constraints:number_words", _words, (arguments.relation("relation"), arguments.number("num_words"))),
    (
        "length_constraints:number_sentences",
        _sentences,
        (arguments.relation("relation"), arguments.number("num_sentences")),
    ),
    ("startend:quotation", _quotation, ()),
):
    register(Kind(f"{PREFIX}:{_kind_id}", _rule, _wording(_kind_id), _declared, sampler=None))

KINDS = frozenset({"length_constraints:number_words", "length_constraints:number_sentences", "startend:quotation"})
"""IFEval's names of the kinds that have a rule here."""
