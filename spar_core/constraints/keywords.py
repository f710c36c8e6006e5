"""Kinds about words and letters, with IFEval's rules: keywords are unescaped regular expressions."""

import re
import string
from random import Random
from typing import Any

from spar_core.constraints import arguments, patterns
from spar_core.constraints.kind import Arguments, Kind, SamplingContext, compare, worded
from spar_core.constraints.registry import register
from spar_core.constraints.text_view import TextView

_COMMON_LETTERS = "aeinorst"


def _existence(text: TextView, bound: Arguments) -> bool:
    return all(patterns.prepare(word, re.IGNORECASE).found(text.text, text.lowered) for word in bound["keywords"])


def _frequency(text: TextView, bound: Arguments) -> bool:
    keyword = patterns.prepare(bound["keyword"].strip(), re.IGNORECASE)
    return compare(bound["relation"], keyword.occurrences(text.text, text.lowered), bound["frequency"])


def _forbidden_words(text: TextView, bound: Arguments) -> bool:
    return not any(_stands_alone(word, text) for word in bound["forbidden_words"])


def _stands_alone(word: str, text: TextView) -> bool:
    bare = patterns.prepare(word, re.IGNORECASE)
    if bare.literal is not None and text.text.isascii() and bare.literal not in text.lowered:
        return False
    return patterns.prepare(rf"\b{word}\b", re.IGNORECASE).found(text.text)


def _letter_frequency(text: TextView, bound: Arguments) -> bool:
    return compare(bound["let_relation"], text.lowered.count(bound["letter"].lower()), bound["let_frequency"])


def _draw_keywords(rng: Random, context: SamplingContext) -> dict[str, Any]:
    return {"keywords": context.draw_words(rng, rng.randint(1, 3))}


def _draw_forbidden(rng: Random, context: SamplingContext) -> dict[str, Any]:
    return {"forbidden_words": context.draw_words(rng, rng.randint(1, 3))}


def _draw_frequency(rng: Random, context: SamplingContext) -> dict[str, Any]:
    relation = rng.choice(arguments.RELATIONS)
    return {"keyword": context.draw_words(rng, 1)[0], "relation": relation, "frequency": rng.randint(2, 5)}


def _draw_letter(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {"letter": rng.choice(_COMMON_LETTERS), "let_relation": "at least", "let_frequency": rng.randint(5, 40)}
    rare = rng.choice([letter for letter in string.ascii_lowercase if letter not in _COMMON_LETTERS])
    return {"letter": rare, "let_relation": "less than", "let_frequency": rng.randint(2, 12)}


EXISTENCE = register(
    Kind(
        "keywords:existence",
        _existence,
        worded(
            "Include the following in your answer: {keywords}.",
            "Make sure that {keywords} appear in your response.",
            "Your answer must mention {keywords}.",
            "Work in {keywords} somewhere.",
        ),
        (arguments.pattern_list("keywords"),),
        _draw_keywords,
    )
)

FREQUENCY = register(
    Kind(
        "keywords:frequency",
        _frequency,
        worded(
            'Use the word "{keyword}" {quantity} times.',
            'The word "{keyword}" should occur {quantity} times in your response.',
            'In your answer, write "{keyword}" {quantity} times.',
            relation="relation",
            amount="frequency",
        ),
        (arguments.pattern("keyword"), arguments.relation("relation"), arguments.number("frequency")),
        _draw_frequency,
    )
)

FORBIDDEN_WORDS = register(
    Kind(
        "keywords:forbidden_words",
        _forbidden_words,
        worded(
            "Do not use {forbidden_words} anywhere.",
            "Avoid {forbidden_words} in your response.",
            "Your answer must not contain {forbidden_words}.",
            "Write it without {forbidden_words}.",
        ),
        (arguments.pattern_list("forbidden_words"),),
        _draw_forbidden,
    )
)

LETTER_FREQUENCY = register(
    Kind(
        "keywords:letter_frequency",
        _letter_frequency,
        worded(
            'The letter "{letter}" should appear {quantity} times.',
            'Use the letter "{letter}" {quantity} times in your response.',
            'Across your whole answer there must be {quantity} occurrences of the letter "{letter}".',
            relation="let_relation",
            amount="let_frequency",
        ),
        (arguments.letter("letter"), arguments.relation("let_relation"), arguments.number("let_frequency")),
        _draw_letter,
    )
)
