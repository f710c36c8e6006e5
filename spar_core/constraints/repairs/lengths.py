"""Findings and repairs of the kinds about how many words and sentences an answer has."""

import re
from itertools import pairwise
from random import Random

from spar_core.constraints import lengths
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs import phrases
from spar_core.constraints.repairs.editing import Span, add_sentence, amount, asked, is_prose, lines_of, sentences_of
from spar_core.constraints.repairs.table import Stage, register
from spar_core.constraints.text_view import TextView, view

_MOST_WORDS_ADDED = 40  # or a tenth of what is asked
_MOST_SENTENCES_ADDED = 4  # or a fifth of what is asked
_MOST_JOINED = 2
_CLAUSE = re.compile(r"(?:;|, (?=(?:and|but|so|yet) (?:I|you|he|she|it|we|they|this|that|there|these)\b)) ?(\w)")
_CLAUSE_START = re.compile(r"[,;:]? (?:and|but|which|who|because|so|while|with)\b|[,;] ")
_SHORTEST_SENTENCE = 3  # words
_OPEN_LINE = re.compile(r"(?<=\w)(?=\n)")


def _words(text: TextView, bound: Arguments) -> str:
    return f"it has {amount(text.word_count, 'word')}; {asked(bound['relation'], bound['num_words'])} are asked"


def _set_words(text: TextView, bound: Arguments, rng: Random) -> str | None:
    wanted = bound["num_words"]
    if bound["relation"] == "at least":
        return _add_words(text, wanted, rng)
    slack = rng.choice((0, 0, 8, 16, 32, wanted // 5))
    return _cut(text.text, max(1, wanted - 1 - slack), rng.random() < 0.4)


def _add_words(text: TextView, wanted: int, rng: Random) -> str | None:
    if wanted - text.word_count > max(_MOST_WORDS_ADDED, wanted // 10):
        return None
    whole = text.text
    for sentence in phrases.fresh_sentences(whole, rng):
        longer = add_sentence(whole, sentence, rng)
        if longer is None or view(longer).word_count >= wanted:
            return longer
        whole = longer
    return None


def _cut(text: str, most_words: int, keeps_last: bool) -> str | None:
    """Whole sentences and lines go from the end, or from before the last line, until few enough words are left."""
    units = _units(text)
    last = [units.pop()] if keeps_last and len(units) > 2 else []
    left = most_words - sum(_count(text, unit) for unit in last)
    kept: list[Span] = []
    for unit in units:
        left -= _count(text, unit)
        if left < 0:
            break
        kept.append(unit)
    while kept and _promises_more(text[kept[-1].start : kept[-1].end]):
        kept.pop()
    if not kept:
        return None if last else _cut_clauses(text, units[0], most_words)
    ending = text[last[0].start :] if last else ""
    gap = text[units[-1].end : last[0].start] if last else ""
    return text[: kept[-1].end] + gap + ending


def _cut_clauses(text: str, first: Span, most_words: int) -> str | None:
    """What stands before the last clauses of a text's first sentence, closed with a full stop."""
    sentence = text[first.start : first.end]
    for found in reversed(list(_CLAUSE_START.finditer(sentence))):
        shorter = sentence[: found.start()]
        if _SHORTEST_SENTENCE <= view(shorter).word_count <= most_words:
            return f"{text[: first.start]}{shorter}."
    return None


def _units(text: str) -> list[Span]:
    """Sentences of prose and other lines, in order; what follows a line's last mark is a unit too."""
    units: list[Span] = []
    sentences = sentences_of(text)
    for line in lines_of(text):
        inside = [span for span in sentences if line.start <= span.start < line.end]
        units += inside
        start = inside[-1].end if inside else line.start
        if text[start : line.end].strip():
            units.append(Span(start, line.end))
    return units


def _count(text: str, unit: Span) -> int:
    return view(text[unit.start : unit.end]).word_count


def _promises_more(unit: str) -> bool:
    """Whether a unit announces what follows: it ends with a colon, or is a heading."""
    bare = unit.strip()
    return bare.endswith(":") or bare.startswith("#") or (not is_prose(bare) and bare.startswith("**"))


def _sentences(text: TextView, bound: Arguments) -> str:
    wanted = asked(bound["relation"], bound["num_sentences"])
    return f"it has {amount(len(text.sentences), 'sentence')}; {wanted} are asked"


def _set_sentences(text: TextView, bound: Arguments, rng: Random) -> str | None:
    wanted = bound["num_sentences"]
    if bound["relation"] == "at least":
        return _add_sentences(text.text, wanted, rng)
    excess = len(text.sentences) - wanted + 1
    if excess <= _MOST_JOINED and rng.random() < 0.6:
        return _join_sentences(text.text, excess, rng)
    return _cut_sentences(text, wanted - 1, rng.random() < 0.4)


def _add_sentences(text: str, wanted: int, rng: Random) -> str | None:
    """Clauses become sentences and open lines get their full stop first; a few plain sentences make up the rest."""
    for pattern, stop in ((_CLAUSE, ". "), (_OPEN_LINE, ".")):
        for found in reversed(list(pattern.finditer(text))):
            if len(view(text).sentences) >= wanted:
                return text
            opening = found[1].upper() if found.groups() else ""
            text = f"{text[: found.start()]}{stop}{opening}{text[found.end() :]}"
    for sentence in phrases.fresh_sentences(text, rng)[: max(_MOST_SENTENCES_ADDED, wanted // 5)]:
        if len(view(text).sentences) >= wanted:
            break
        longer = add_sentence(text, sentence, rng)
        if longer is None:
            return None
        text = longer
    return text


def _join_sentences(text: str, count: int, rng: Random) -> str | None:
    """Two sentences become one with a semicolon, or with "and" where the second opens with a small function word."""
    for _ in range(count):
        spans = sentences_of(text)
        pairs = [
            (first, second)
            for first, second in pairwise(spans)
            if text[first.end - 1] == "." and text[first.end : second.start] == " "
        ]
        if not pairs:
            return None
        first, second = rng.choice(pairs)
        rest = text[second.start :]
        opener = re.match(r"(?:It|This|That|They|We|You|He|She|There|These|The|A|In|If)\b", rest)
        link = rng.choice(("; ", " and ")) if opener else "; "
        text = text[: first.end - 1] + link + (rest[:1].lower() + rest[1:] if opener else rest)
    return text


def _cut_sentences(text: TextView, most: int, keeps_last: bool) -> str | None:
    ends, place = [], 0
    for sentence in text.sentences:
        place = text.text.index(sentence, place) + len(sentence)
        ends.append(place)
    if most < 1 or (keeps_last and most < 2):
        return None
    if keeps_last:
        return text.text[: ends[most - 2]] + text.text[ends[-2] :]
    return text.text[: ends[most - 1]]


register(lengths.NUMBER_WORDS.id, _words, _set_words, Stage.LENGTH)
register(lengths.NUMBER_SENTENCES.id, _sentences, _set_sentences, Stage.LENGTH)
