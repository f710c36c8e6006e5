"""M-IFEval's Spanish rules (`es:...`): IFEval's with "at most" in place of "less than", and words by spaCy.

Source: lightblue-tech/M-IFEval (Apache 2.0), arXiv 2502.04688.
"""

import re
import string
import unicodedata
from collections.abc import Callable

from spar_core.constraints import arguments, language, patterns
from spar_core.constraints.bench_counts import score_only
from spar_core.constraints.formats import marked_items
from spar_core.constraints.kind import Arguments, compare
from spar_core.constraints.multilingual.adopted import IndifferentKind, adopt, relation_of
from spar_core.constraints.multilingual.resources import (
    OTHER_MODEL,
    SPANISH_MODEL,
    spanish_tokens,
    trained_pipeline,
)
from spar_core.constraints.registry import get, register
from spar_core.constraints.text_view import TextView

RELATIONS = {"al menos": "at least", "como máximo": "at most"}
CHOICES = ("Sí.", "No.", "Quizás.")
_LANGUAGE = "es"
_LIST_MARK = re.compile(r"^\s*+\d+\.\s*|^\s*+[-*]\s*", re.MULTILINE)
_POSTSCRIPT = re.compile(r"p\.\s?d\.")
_TILDES = frozenset("áéíóúÁÉÍÓÚ")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words_of(text: str) -> list[str]:
    """spaCy's Spanish tokens but for punctuation; runs of white space between words are tokens too.

    Raises:
        DataError: spaCy is not installed.
    """
    return [token.text for token in spanish_tokens()(text) if not token.is_punct]


def _words(text: TextView, bound: Arguments) -> bool:
    counted = words_of(_LIST_MARK.sub("", text.text).replace("\n", " "))
    return compare(bound["relation"], len(counted), bound["num_words"])


def _sentences(text: TextView, bound: Arguments) -> bool:
    """By spaCy's trained pipeline for Spanish; by the one for many languages where another is detected."""
    name = SPANISH_MODEL if language.detect(text.lowered) in (_LANGUAGE, None) else OTHER_MODEL
    counted = sum(1 for _ in trained_pipeline(name)(_LIST_MARK.sub("", text.text)).sents)
    return compare(bound["relation"], counted, bound["num_sentences"])


def _capital_words(text: TextView, bound: Arguments) -> bool:
    return compare(bound["capital_relation"], _count(text, str.isupper), bound["capital_frequency"])


def _tildes(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], _count(text, lambda word: not _TILDES.isdisjoint(word)), bound["num_words"])


def _enie(text: TextView, bound: Arguments) -> bool:
    return _count(text, lambda word: "ñ" in word.lower()) == int(bound["let_frequency"])


def _dieresis(text: TextView, bound: Arguments) -> bool:
    return _count(text, lambda word: "ü" in word.lower()) == int(bound["let_frequency"])


def _count(text: TextView, counts: Callable[[str], bool]) -> int:
    return sum(1 for word in words_of(text.text) if counts(word))


def _nth_first_words(text: TextView, bound: Arguments) -> bool:
    """As IFEval's rule, but punctuation is taken off every word, and several words may be asked for."""
    parts = text.text.split("\n\n")
    count = sum(1 for part in parts if part.strip())
    position, asked = bound["nth_paragraph"], bound["first_word"].lower().split()
    if position > count or count != bound["num_paragraphs"]:
        return False
    words = parts[position - 1].split()
    return [word.translate(_PUNCTUATION).lower() for word in words[: len(asked)]] == asked and bool(words)


def _bullets(text: TextView, bound: Arguments) -> bool:
    return marked_items(text.lines, "*") == int(bound["num_bullets"])


def _constrained(text: TextView, _bound: Arguments) -> bool:
    return any(choice in text.text for choice in CHOICES)


def _postscript(text: TextView, bound: Arguments) -> bool:
    marker = bound["postscript_marker"].strip()
    if marker == "P.D.":
        return _POSTSCRIPT.search(text.lowered) is not None
    bare = patterns.prepare(marker.lower())
    if bare.literal is not None:
        return bare.literal in text.lowered
    return patterns.prepare(rf"\s*{marker.lower()}.*$", re.MULTILINE).found(text.lowered)


def _end_phrase(text: TextView, bound: Arguments) -> bool:
    """A full stop at the end of the answer does not count, even where the phrase has one."""
    end = text.stripped.strip('"').lower().removesuffix(".")
    return end.endswith(bound["end_phrase"].strip().lower())


def _capital(text: TextView, _bound: Arguments) -> bool:
    letters = (
        one for one in unicodedata.normalize("NFKD", text.text) if one.isalpha() and not unicodedata.combining(one)
    )
    return all(map(str.isupper, letters)) and language.detect(text.lowered) in (_LANGUAGE, None)


def _lowercase(text: TextView, _bound: Arguments) -> bool:
    return text.text.islower() and text.language in (_LANGUAGE, None)


def _question(text: TextView, _bound: Arguments) -> bool:
    return _enclosed(text.text, "¿", "?")


def _exclamation(text: TextView, _bound: Arguments) -> bool:
    return _enclosed(text.text, "¡", "!")


def _enclosed(text: str, opening: str, closing: str) -> bool:
    """Whether more than white space and opening marks stands between an opening mark and the next closing one."""
    start = text.find(opening)
    while start >= 0 and (end := text.find(closing, start)) >= 0:
        if text[start:end].lstrip(opening).strip():
            return True
        start = text.find(opening, end)
    return False


def _at_least_whatever_the_relation(kind_id: str) -> None:
    """IFEval's kind, handed a relation that the published rule does not look at: it always means "at least"."""
    kind = get(kind_id)
    register(
        IndifferentKind(f"es:{kind_id}", kind.rule, kind.wording, kind.arguments, None, unused=frozenset({"relation"}))
    )


adopt(
    "es",
    (
        "keywords:existence",
        "keywords:frequency",
        "keywords:forbidden_words",
        "keywords:letter_frequency",
        "language:response_language",
        "length_constraints:number_paragraphs",
        "detectable_format:json_format",
        "detectable_format:title",
        "combination:two_responses",
        "combination:repeat_prompt",
        "punctuation:no_comma",
        "startend:quotation",
    ),
    RELATIONS,
)
for _kind_id in (
    "detectable_content:number_placeholders",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
):
    _at_least_whatever_the_relation(_kind_id)
_RELATION = relation_of("relation", RELATIONS)
score_only(
    "es:length_constraints:number_words",
    _words,
    _RELATION,
    arguments.number("num_words"),
    wording="Use {relation} {num_words} words.",
)
score_only(
    "es:length_constraints:number_sentences",
    _sentences,
    _RELATION,
    arguments.number("num_sentences"),
    wording="Write {relation} {num_sentences} sentences.",
)
score_only(
    "es:length_constraints:nth_paragraph_first_word",
    _nth_first_words,
    arguments.number("num_paragraphs"),
    arguments.number("nth_paragraph", 1),
    arguments.text("first_word"),
    wording="Write {num_paragraphs} paragraphs, a blank line between; start number {nth_paragraph} with {first_word}.",
)
score_only(
    "es:change_case:capital_word_frequency",
    _capital_words,
    relation_of("capital_relation", RELATIONS),
    arguments.number("capital_frequency"),
    wording="Use {capital_relation} {capital_frequency} words in capitals.",
)
score_only(
    "es:special_character:tildes",
    _tildes,
    _RELATION,
    arguments.number("num_words"),
    wording="Use {relation} {num_words} words with an acute accent.",
)
score_only(
    "es:special_character:enie",
    _enie,
    arguments.number("let_frequency"),
    wording="Use exactly {let_frequency} words with ñ.",
)
score_only(
    "es:special_character:dieresis",
    _dieresis,
    arguments.number("let_frequency"),
    wording="Use exactly {let_frequency} words with ü.",
)
score_only(
    "es:detectable_format:number_bullet_lists",
    _bullets,
    arguments.number("num_bullets"),
    wording="Use exactly {num_bullets} bullets, each a line that starts with an asterisk.",
)
score_only(
    "es:detectable_format:constrained_response", _constrained, wording="Answer with one of: " + " ".join(CHOICES)
)
score_only(
    "es:detectable_content:postscript",
    _postscript,
    arguments.pattern("postscript_marker"),
    wording="End with a postscript that starts with {postscript_marker}",
)
score_only(
    "es:startend:end_checker", _end_phrase, arguments.text("end_phrase"), wording="End with exactly: {end_phrase}"
)
score_only("es:change_case:spanish_capital", _capital, wording="Write in Spanish, in capital letters only.")
score_only("es:change_case:spanish_lowercase", _lowercase, wording="Write in Spanish, in lowercase letters only.")
score_only("es:punctuation:question_marks", _question, wording="Ask a question between ¿ and ?.")
score_only("es:punctuation:exclamation_marks", _exclamation, wording="Exclaim something between ¡ and !.")
