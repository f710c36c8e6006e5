"""M-IFEval's French rules (`fr:...`): IFEval's, some with French marks and sentences, and five of its own.

Source: lightblue-tech/M-IFEval (Apache 2.0), arXiv 2502.04688.
"""

import re
import unicodedata

from spar_core.constraints import arguments, language
from spar_core.constraints.bench_counts import score_only
from spar_core.constraints.formats import has_title
from spar_core.constraints.kind import Arguments, compare
from spar_core.constraints.multilingual.adopted import adopt, relation_of, spellings
from spar_core.constraints.multilingual.resources import french_sentences
from spar_core.constraints.text_view import TextView

RELATIONS = {"moins de": "less than", "au moins": "at least"}
CHOICES = ("Oui.", "Non.", "Peut-être.")
QUOTES = (('"', '"'), ("'", "'"), ("«", "»"))
_LANGUAGE = "fr"
_ACCENTED = re.compile("[àáâãäåçèéêëìíîïñòóôõöùúûüýÿÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝ]")
_INFORMAL = re.compile(r"\b(?:tu|te|toi|ton|ta|tes|t')\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"\w+")


def _sentences(text: TextView, bound: Arguments) -> bool:
    return compare(bound["relation"], len(french_sentences()(text.text)), bound["num_sentences"])


def _constrained(text: TextView, _bound: Arguments) -> bool:
    return any(choice in text.text for choice in CHOICES)


def _title(text: TextView, _bound: Arguments) -> bool:
    return has_title(text.lines, "##", "##")


def _quotation(text: TextView, _bound: Arguments) -> bool:
    whole = text.stripped
    return len(whole) > 1 and (whole[0], whole[-1]) in QUOTES


def _capital(text: TextView, _bound: Arguments) -> bool:
    """The detector is asked in lower case: capitals look German to it."""
    return text.text.isupper() and language.detect(text.lowered) in (_LANGUAGE, None)


def _lowercase(text: TextView, _bound: Arguments) -> bool:
    return text.text.islower() and text.language in (_LANGUAGE, None)


def _without_character(text: TextView, bound: Arguments) -> bool:
    return not re.search(re.escape(bound["forbidden_char"]), text.text, re.IGNORECASE)


def _informal(text: TextView, _bound: Arguments) -> bool:
    return _INFORMAL.search(text.text) is not None


def _no_accents(text: TextView, _bound: Arguments) -> bool:
    return _ACCENTED.search(text.text) is None


def _accents(text: TextView, bound: Arguments) -> bool:
    """Words that are listed without accents have the listed ones; a text with none of them passes."""
    right = bound["word_to_accentuate"]
    return all(word == right.get(_bare(word), word) for word in _WORD.findall(text.lowered))


def _bare(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _no_digits(text: TextView, _bound: Arguments) -> bool:
    return _DIGIT.search(text.text) is None


adopt(
    "fr",
    (
        "keywords:existence",
        "keywords:frequency",
        "keywords:forbidden_words",
        "keywords:letter_frequency",
        "language:response_language",
        "length_constraints:number_paragraphs",
        "length_constraints:number_words",
        "length_constraints:nth_paragraph_first_word",
        "detectable_content:number_placeholders",
        "detectable_content:postscript",
        "detectable_format:number_bullet_lists",
        "detectable_format:number_highlighted_sections",
        "detectable_format:multiple_sections",
        "detectable_format:json_format",
        "combination:two_responses",
        "combination:repeat_prompt",
        "startend:end_checker",
        "change_case:capital_word_frequency",
        "punctuation:no_comma",
    ),
    RELATIONS,
)
score_only(
    "fr:length_constraints:number_sentences",
    _sentences,
    relation_of("relation", RELATIONS),
    arguments.number("num_sentences"),
    wording="Write {relation} {num_sentences} sentences.",
)
score_only(
    "fr:detectable_format:constrained_response", _constrained, wording="Answer with one of: " + " ".join(CHOICES)
)
score_only("fr:detectable_format:title", _title, wording="Give a title between double hashes, such as ##title##.")
score_only("fr:startend:quotation", _quotation, wording="Wrap your whole response in quotation marks.")
score_only("fr:change_case:french_capital", _capital, wording="Write in French, in capital letters only.")
score_only("fr:change_case:french_lowercase", _lowercase, wording="Write in French, in lowercase letters only.")
score_only(
    "fr:special_character:ethel_or_cedilla",
    _without_character,
    arguments.text("forbidden_char"),
    wording="Do not use the character {forbidden_char}.",
)
score_only("fr:detectable_content:informal_address", _informal, wording="Address the reader as tu.")
score_only("fr:special_character:no_accents", _no_accents, wording="Use no accented letters.")
score_only(
    "fr:special_character:accents",
    _accents,
    spellings("word_to_accentuate"),
    wording="Rewrite the text with its accents.",
)
score_only("fr:detectable_content:no_digits", _no_digits, wording="Use no digits.")
