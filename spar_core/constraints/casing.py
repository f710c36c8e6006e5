"""Kinds about letter case, language and commas, with IFEval's rules."""

from random import Random
from typing import Any

from spar_core.constraints import arguments
from spar_core.constraints.kind import Arguments, Kind, SamplingContext, Wording, compare, worded
from spar_core.constraints.registry import register
from spar_core.constraints.text_view import TextView
from spar_core.constraints.vocabulary import LANGUAGE_NAMES

_CASE_SENSITIVE = frozenset(
    {
        "language:response_language",
        "detectable_format:constrained_response",
        "detectable_format:multiple_sections",
        "change_case:capital_word_frequency",
    }
)


def _capital_words(text: TextView, bound: Arguments) -> bool:
    """Tokenized only where the bounds leave the answer open."""
    relation, asked = bound["capital_relation"], bound["capital_frequency"]
    low, high = text.capital_bounds
    decided = compare(relation, low, asked)
    return decided if decided == compare(relation, high, asked) else compare(relation, text.capital_count, asked)


def _all_capital(text: TextView, _bound: Arguments) -> bool:
    return text.text.isupper() and text.passes_english_gate


def _all_lowercase(text: TextView, _bound: Arguments) -> bool:
    return text.text.islower() and text.passes_english_gate


def _in_language(text: TextView, bound: Arguments) -> bool:
    return text.language in (bound["language"], None)


def _no_comma(text: TextView, _bound: Arguments) -> bool:
    return "," not in text.text


def _draw_capitals(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    relation = rng.choice(arguments.RELATIONS)
    return {"capital_relation": relation, "capital_frequency": rng.randint(2, 15)}


def _draw_language(rng: Random, context: SamplingContext) -> dict[str, Any]:
    return {"language": rng.choice(context.bank.languages)}


def _language_wording(*templates: str) -> Wording:
    described = worded(*templates)

    def describe(bound: Arguments, rng: Random) -> str:
        return described({"language": LANGUAGE_NAMES.get(bound["language"], bound["language"])}, rng)

    return describe


CAPITAL_WORDS = register(
    Kind(
        "change_case:capital_word_frequency",
        _capital_words,
        worded(
            "Words written entirely in capital letters should appear {quantity} times.",
            "Use {quantity} words in ALL CAPS.",
            "In your response, {quantity} words should be fully capitalized.",
            relation="capital_relation",
            amount="capital_frequency",
        ),
        (arguments.relation("capital_relation"), arguments.number("capital_frequency")),
        _draw_capitals,
    )
)

ENGLISH_CAPITAL = register(
    Kind(
        "change_case:english_capital",
        _all_capital,
        worded(
            "Write your whole response in English, in capital letters only.",
            "Use only capital letters and answer in English.",
            "Your entire answer should be in English and in all capitals.",
        ),
        conflicts=_CASE_SENSITIVE | {"change_case:english_lowercase"},
    )
)

ENGLISH_LOWERCASE = register(
    Kind(
        "change_case:english_lowercase",
        _all_lowercase,
        worded(
            "Write your whole response in English, in lowercase letters only.",
            "No capital letters are allowed; answer in English.",
            "Your entire answer should be in English and in all lowercase.",
        ),
        conflicts=_CASE_SENSITIVE | {"change_case:english_capital"},
    )
)

RESPONSE_LANGUAGE = register(
    Kind(
        "language:response_language",
        _in_language,
        _language_wording(
            "Answer entirely in {language}.",
            "Your whole response should be in {language}; no other language is allowed.",
            "Write in the {language} language only.",
        ),
        (arguments.language_code("language"),),
        _draw_language,
        frozenset(
            {
                "keywords:existence",
                "keywords:frequency",
                "keywords:letter_frequency",
                "change_case:capital_word_frequency",
                "length_constraints:nth_paragraph_first_word",
                "length_constraints:number_sentences",
                "length_constraints:number_words",
                "detectable_format:constrained_response",
                "combination:repeat_prompt",
                "startend:end_checker",
            }
        ),
    )
)

NO_COMMA = register(
    Kind(
        "punctuation:no_comma",
        _no_comma,
        worded(
            "Do not use any commas.",
            "Your response must not contain a comma.",
            "Avoid commas altogether.",
            "Write it without a single comma.",
        ),
        conflicts=frozenset({"detectable_format:json_format", "combination:repeat_prompt"}),
    )
)
