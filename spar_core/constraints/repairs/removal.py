"""Take a word out of a text and leave sentences behind."""

import re
from random import Random

from spar_core.constraints.repairs.editing import Span, remove, sentences_of

_MOST = 12  # occurrences
_MOST_DROPPED = 2  # sentences
_DETERMINER_TEXT = """
    a an the this that these those my your his her its our their some any no every each another
"""
_DETERMINERS = frozenset(_DETERMINER_TEXT.split())
_FUNCTION_TEXT = """
    and or but nor so yet if as at by for from in into of off on onto over to under up with without about
    after before is are was were be been being am has have had do does did can could may might must shall
    should will would not i you he she it we they who which what when where why how than then there here also
    too very just only
"""
_FUNCTION_WORDS = _DETERMINERS | frozenset(_FUNCTION_TEXT.split())
_VOWELS = "aeiouAEIOU"


def without_words(text: str, pattern: re.Pattern[str], count: int, rng: Random) -> str | None:
    """The text with its last `count` matches gone, each with the word that it stands in.

    A joined word goes with its conjunction, one before another noun goes alone, any other gives way to a stand-in; or
    the sentences go that hold it, where they are few of many. None for words that sentences are built of.
    """
    if count > _MOST:
        return None
    places = [_whole_word(text, found) for found in pattern.finditer(text)][-count:]
    if rng.random() < 0.4:
        dropped = _without_sentences(text, places)
        if dropped is not None:
            return dropped
    for place in sorted(set(places), reverse=True):
        if text[place.start : place.end].lower() in _FUNCTION_WORDS:
            return _without_sentences(text, places)
        text = _without_word(text, place, rng)
    return text


def _whole_word(text: str, found: re.Match[str]) -> Span:
    start, end = found.span()
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return Span(start, end)


def _without_sentences(text: str, places: list[Span]) -> str | None:
    sentences = sentences_of(text)
    holding = [s for s in sentences if any(s.start <= place.start < s.end for place in places)]
    reached = sum(any(s.start <= place.start < s.end for s in holding) for place in places)
    if reached < len(places) or len(holding) > _MOST_DROPPED or len(holding) * 3 > len(sentences):
        return None
    for span in reversed(holding):
        text = remove(text, span)
    return text


def _without_word(text: str, place: Span, rng: Random) -> str:
    word, before, after = text[place.start : place.end], text[: place.start], text[place.end :]
    joined = re.search(r"\w(,? (?:and|or|as well as) (?:(?:an?|the|some|my|your|his|her|its|our|their) )?)$", before)
    if joined and re.match(r"\s*(?:[.,;!?)\"]|$)", after):
        return before[: joined.start(1)] + after
    if re.match(r" (?:and|or) \w", after) and not before.endswith("-"):
        return _capital(word, before, re.sub(r"^ (?:and|or) ", "", after))
    if re.search(r"\w, $", before) and after.startswith(","):
        return before[:-2] + after
    following = re.match(r" ([a-z]+)\b", after)
    previous = before.split()[-1].lower() if before.split() else ""
    if following and following[1] not in _FUNCTION_WORDS and not following[1].endswith(("ed", "ly")) and before.strip():
        return _article(before, following[1]) + after[1:]
    return _article(before, standing := _stand_in(word, previous, rng)) + standing + after


def _stand_in(word: str, previous: str, rng: Random) -> str:
    """A word that can stand nearly anywhere, in the case of the one it replaces."""
    many = word.lower().endswith("s") and not word.lower().endswith("ss")
    if previous in _DETERMINERS:
        chosen = rng.choice(("things", "ones", "parts") if many else ("thing", "part", "matter"))
    else:
        chosen = rng.choice(("such things", "these things") if many else ("this", "something", "all of it"))
    return chosen.upper() if word.isupper() else chosen.capitalize() if word[:1].isupper() else chosen


def _capital(word: str, before: str, rest: str) -> str:
    return before + (rest[:1].upper() + rest[1:] if word[:1].isupper() else rest)


def _article(before: str, following: str) -> str:
    """What stands before, with "a" or "an" as the next word has it."""
    found = re.search(r"\b([Aa])n? $", before)
    if found is None:
        return before
    return before[: found.start()] + found[1] + ("n " if following[0] in _VOWELS else " ")
