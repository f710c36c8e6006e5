"""Reading an evaluator's text: which output it prefers, by the protocol's patterns."""

import re
from typing import Literal, NamedTuple

from spar_core.evaluation.llmbar.dataset import Winner

Pattern = Literal["line_start", "is_better"]
Letter = Literal["a", "b"]

# "is better" needs one more character, whichever: the reference does not escape its full stop.
_PATTERNS: dict[Pattern, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "line_start": (re.compile(r"(?:\A|\n) ?Output \(a\)"), re.compile(r"(?:\A|\n) ?Output \(b\)")),
    "is_better": (re.compile(r"Output \(a\) is better."), re.compile(r"Output \(b\) is better.")),
}
_MAX_DIGITS = 4000  # Python refuses to convert much longer numbers


class Pair(NamedTuple):
    """The winners of the two orders in terms of the stored outputs; null is unparsed.

    `readable` is false where a rating was not a number: its pair is the reference's fixed one, not a verdict.
    """

    winner: Winner | None
    winner_swapped: Winner | None
    readable: bool = True


def read_letter(text: str, pattern: Pattern) -> Letter | None:
    """The output named in a text; (a) is looked for first and decides even if (b) occurs too."""
    first, second = _PATTERNS[pattern]
    trimmed = text.strip()
    if first.search(trimmed):
        return "a"
    return "b" if second.search(trimmed) else None


def read_comparison(text: str | None, text_swapped: str | None, pattern: Pattern) -> Pair:
    """Winners of the texts for the stored and the swapped order; a null text is unparsed."""
    letter = read_letter(text or "", pattern)
    swapped = read_letter(text_swapped or "", pattern)
    return Pair(
        None if letter is None else "1" if letter == "a" else "2",
        None if swapped is None else "2" if swapped == "a" else "1",
    )


def conflict(pair: Pair) -> bool:
    """Do the two orders name different outputs? Only then does a Swap strategy ask again."""
    return {pair.winner, pair.winner_swapped} == {"1", "2"}


def read_rating(text: str | None) -> int | None:
    """The integer that is the whole text; null for anything else."""
    trimmed = (text or "").strip()
    if not re.fullmatch(r"[+-]?\d+", trimmed) or len(trimmed) > _MAX_DIGITS:
        return None
    return int(trimmed)


def read_ratings(text_1: str | None, text_2: str | None) -> Pair:
    """Winners by two ratings: a tie is ("2", "1"), half right; ratings that are not both integers are ("1", "2")."""
    score_1, score_2 = read_rating(text_1), read_rating(text_2)
    if score_1 is None or score_2 is None:
        return Pair("1", "2", readable=False)
    return by_value(score_1, score_2)


def by_value(value_1: float, value_2: float) -> Pair:
    """Winners when each output got a value of its own; a tie is given to "2" as stored and to "1" swapped."""
    return Pair("1" if value_1 > value_2 else "2", "2" if value_2 > value_1 else "1")
