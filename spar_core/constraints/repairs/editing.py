"""Places in a text where an edit does little harm, and additions in the text's own case."""

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

_STOP = re.compile(r"""[.!?]["')\]*_]*(?=\s|$)""")
_NO_PROSE = re.compile(r"\s*(?:[-*+>#|`<{}\[]|\d+[.)]|p\.\s?(?:p\.\s?)?s\b|_{3})", re.IGNORECASE)
_INITIALS = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|e\.g|i\.e|No|\d))\.$")
_LATIN_SHARE = 0.9
_SHORTEST_PROSE = 3  # words


class Span(NamedTuple):
    """From `start` to `end` of a text, in characters."""

    start: int
    end: int


def amount(count: int, unit: str, plural: str = "") -> str:
    """A count in words: "no commas", "1 comma", "3 commas"."""
    many = plural or f"{unit}s"
    return f"no {many}" if count == 0 else f"1 {unit}" if count == 1 else f"{count} {many}"


def asked(relation: str, count: int) -> str:
    """What a relation asks for: "at least 3", "fewer than 3"."""
    return f"{'at least' if relation == 'at least' else 'fewer than'} {count}"


def examples(words: Sequence[str], shown: int = 3) -> str:
    """The first few of some words, in quotation marks."""
    return ", ".join(f'"{word}"' for word in words[:shown]) + (", ..." if len(words) > shown else "")


def fit_case(text: str, addition: str) -> str:
    """The addition in capitals or small letters where the text is all of one case."""
    if text.isupper():
        return addition.upper()
    return addition.lower() if text.islower() else addition


def lines_of(text: str) -> list[Span]:
    """The lines of a text, without their line feeds."""
    spans, start = [], 0
    for line in text.split("\n"):
        spans.append(Span(start, start + len(line)))
        start += len(line) + 1
    return spans


def is_prose(line: str) -> bool:
    """Whether a line is running text: no heading, item of a list, table, markup or postscript."""
    return _NO_PROSE.match(line) is None and len(line.split()) >= _SHORTEST_PROSE


def sentences_of(text: str) -> list[Span]:
    """The sentences of the lines of prose that end with a mark, each from its first character to its mark."""
    spans = []
    for line in lines_of(text):
        content = text[line.start : line.end]
        if is_prose(content):
            spans += [Span(line.start + start, line.start + end) for start, end in _split(content)]
    return spans


def _split(line: str) -> list[Span]:
    spans, start = [], len(line) - len(line.lstrip())
    for stop in _STOP.finditer(line):
        if _INITIALS.search(line[: stop.start() + 1]):
            continue
        spans.append(Span(start, stop.end()))
        following = line[stop.end() :]
        start = stop.end() + len(following) - len(following.lstrip())
    return spans


def add_sentence(text: str, sentence: str, rng: Random) -> str | None:
    """The text with one more English sentence: after another one, or as a last line where it has none.

    None for texts in another script.
    """
    if not is_latin(text):
        return None
    added = fit_case(text, sentence)
    places = [span.end for span in sentences_of(text)]
    if not places:
        body, quote = (text.rstrip()[:-1], '"') if text.rstrip().endswith('"') else (text.rstrip(), "")
        return f"{body}{rng.choice((chr(10), chr(10) * 2))}{added}{quote}"
    place = places[-1] if rng.random() < 0.3 else rng.choice(places)
    if text[place - 1] == '"' and text.startswith('"') and not text[place:].strip():
        place -= 1
    return f"{text[:place]} {added}{text[place:]}"


def add_clause(text: str, clause: str, avoided: Sequence[str], rng: Random) -> str | None:
    """The text with words added to one of its sentences, before the mark that ends it.

    None where it has no sentence that ends plainly and is without the avoided words.
    """
    places = [
        span.end - 1
        for span in sentences_of(text)
        if text[span.end - 1] in ".!" and not any(w.lower() in text[span.start : span.end].lower() for w in avoided)
    ]
    if not places or not is_latin(text):
        return None
    place = rng.choice(places)
    return f"{text[:place]} {fit_case(text, clause)}{text[place:]}"


def is_latin(text: str) -> bool:
    """Whether nearly all letters are plain Latin ones, so that English words do not stand out."""
    letters = [character for character in text if character.isalpha()]
    return sum(map(str.isascii, letters)) >= _LATIN_SHARE * len(letters)


def remove(text: str, span: Span) -> str:
    """The text without a span and the white space that it leaves behind."""
    before, after = text[: span.start], text[span.end :]
    if before.endswith((" ", "\n")) or not before:
        after = after.lstrip(" ")
    if not after or after.startswith("\n"):
        before = before.rstrip(" ")
    if before.endswith("\n") and after.startswith("\n"):
        after = after[1:]
        while before.endswith("\n\n") and after.startswith("\n"):
            after = after[1:]
    return (before + after).lstrip("\n") if not before else before + after
