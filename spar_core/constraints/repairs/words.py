"""Findings and repairs of the kinds about words and letters."""

import re
from collections.abc import Sequence
from random import Random

from spar_core.constraints import keywords, patterns
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs import phrases
from spar_core.constraints.repairs.editing import add_clause, add_sentence, amount, asked, remove, sentences_of
from spar_core.constraints.repairs.removal import without_words
from spar_core.constraints.repairs.table import register
from spar_core.constraints.text_view import TextView

_MOST_ADDED = 6  # times that a word is added
_MOST_SENTENCES = 5
_KEPT_SHARE = 0.5  # of the words, where whole sentences go


def _missing_words(text: TextView, bound: Arguments) -> list[str]:
    return [w for w in bound["keywords"] if not patterns.prepare(w, re.IGNORECASE).found(text.text, text.lowered)]


def _quoted(words: list[str]) -> str:
    return " and ".join(f'"{word}"' for word in words)


def _missing(text: TextView, bound: Arguments) -> str:
    return f"it lacks {_quoted(_missing_words(text, bound))}; {_quoted(list(bound['keywords']))} must appear"


def _add_missing(text: TextView, bound: Arguments, rng: Random) -> str | None:
    whole = text.text
    for word in _missing_words(text, bound):
        longer = _with_word(whole, word.strip(), bound["keywords"], rng)
        if longer is None:
            return None
        whole = longer
    return whole


def _with_word(text: str, word: str, added: Sequence[str], rng: Random) -> str | None:
    """The text with a word in one more place: in a sentence of its own, or at the end of one without an added word."""
    if rng.random() < 0.5:
        longer = add_clause(text, phrases.clause_with(word, text, rng), added, rng)
        if longer is not None:
            return longer
    return add_sentence(text, phrases.sentence_with(word, text, rng), rng)


def _occurrences(text: TextView, bound: Arguments) -> int:
    keyword = patterns.prepare(bound["keyword"].strip(), re.IGNORECASE)
    return keyword.occurrences(text.text, text.lowered)


def _times(text: TextView, bound: Arguments) -> str:
    found, word = _occurrences(text, bound), bound["keyword"].strip()
    return f'"{word}" occurs {amount(found, "time")}; {asked(bound["relation"], bound["frequency"])} are asked'


def _set_times(text: TextView, bound: Arguments, rng: Random) -> str | None:
    found, word, wanted = _occurrences(text, bound), bound["keyword"].strip(), bound["frequency"]
    if bound["relation"] == "at least":
        if wanted - found > _MOST_ADDED:
            return None
        whole: str | None = text.text
        for _ in range(wanted - found):
            whole = whole and _with_word(whole, word, (word,), rng)
        return whole
    keyword = patterns.prepare(word, re.IGNORECASE)
    return without_words(text.text, keyword.compiled, found - wanted + 1, rng) if keyword.literal else None


def _named(text: TextView, bound: Arguments) -> list[tuple[str, int]]:
    counted = [
        (word, patterns.prepare(rf"\b{word}\b", re.IGNORECASE).occurrences(text.text))
        for word in bound["forbidden_words"]
    ]
    return [(word, count) for word, count in counted if count]


def _forbidden(text: TextView, bound: Arguments) -> str:
    found = " and ".join(f'"{word}" {amount(count, "time")}' for word, count in _named(text, bound))
    return f"it has {found}; not allowed are {_quoted(list(bound['forbidden_words']))}"


def _drop_forbidden(text: TextView, bound: Arguments, rng: Random) -> str | None:
    whole: str | None = text.text
    for word, count in _named(text, bound):
        if whole is None or patterns.prepare(word, re.IGNORECASE).literal is None:
            return None
        whole = without_words(whole, re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE), count, rng)
    return whole


def _letters(text: TextView, bound: Arguments) -> str:
    count, letter = text.lowered.count(bound["letter"].lower()), bound["letter"]
    return f'the letter "{letter}" occurs {amount(count, "time")}; {_asked_letters(bound)} are asked'


def _asked_letters(bound: Arguments) -> str:
    return asked(bound["let_relation"], bound["let_frequency"])


def _set_letters(text: TextView, bound: Arguments, rng: Random) -> str | None:
    letter = bound["letter"].lower()
    excess = text.lowered.count(letter) - bound["let_frequency"]
    if bound["let_relation"] == "less than":
        return _fewer_letters(text, letter, excess + 1)
    return _more_marks(text.text, -excess, rng) if letter == "!" else _more_letters(text.text, letter, -excess, rng)


def _more_letters(text: str, letter: str, missing: int, rng: Random) -> str | None:
    """Plain sentences that hold the letter, the richest of a handful first."""
    bank = phrases.fresh_sentences(text, rng)
    for _ in range(_MOST_SENTENCES):
        handful = [sentence for sentence in bank if letter in sentence.lower()][:10]
        if not handful:
            return None
        enough = [sentence for sentence in handful if sentence.lower().count(letter) >= missing]
        chosen = enough[0] if enough else max(handful, key=lambda sentence: sentence.lower().count(letter))
        bank.remove(chosen)
        longer = add_sentence(text, chosen, rng)
        missing -= chosen.lower().count(letter)
        if longer is None or missing <= 0:
            return longer
        text = longer
    return None


def _more_marks(text: str, missing: int, rng: Random) -> str | None:
    """Full stops turned into exclamation marks."""
    ends = [span.end for span in sentences_of(text) if text[span.end - 1] == "."]
    if missing > len(ends):
        return None
    for end in rng.sample(ends, missing):
        text = f"{text[: end - 1]}!{text[end:]}"
    return text


def _fewer_letters(text: TextView, letter: str, excess: int) -> str | None:
    """The fewest sentences go that hold most of the letter; None where that takes more than half of the words."""
    whole, lowered = text.text, text.lowered
    if len(lowered) != len(whole):
        return None
    spans = sorted(sentences_of(whole), key=lambda span: -lowered.count(letter, *span))
    chosen = []
    while excess > 0 and spans:
        chosen.append(spans.pop(0))
        excess -= lowered.count(letter, *chosen[-1])
    for span in sorted(chosen, reverse=True):
        whole = remove(whole, span)
    return whole if excess <= 0 and len(whole.split()) >= _KEPT_SHARE * len(text.text.split()) else None


register(keywords.EXISTENCE.id, _missing, _add_missing)
register(keywords.FREQUENCY.id, _times, _set_times)
register(keywords.FORBIDDEN_WORDS.id, _forbidden, _drop_forbidden)
register(keywords.LETTER_FREQUENCY.id, _letters, _set_letters)
