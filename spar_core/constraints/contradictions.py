"""Sets of constraints that no answer can meet, as far as a rule can tell; what it cannot tell counts as possible."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

from spar_core.records import Constraint

_CAPITAL: Final = "change_case:english_capital"
_LOWER: Final = "change_case:english_lowercase"
_LANGUAGE: Final = "language:response_language"
_SENTENCES: Final = "length_constraints:number_sentences"
_WORDS: Final = "length_constraints:number_words"
_END: Final = "startend:end_checker"
# kind: its relation, its number, and what it counts (nothing: the whole answer)
_COUNTS: Final[Mapping[str, tuple[str, str, str]]] = {
    _SENTENCES: ("relation", "num_sentences", ""),
    _WORDS: ("relation", "num_words", ""),
    "change_case:capital_word_frequency": ("capital_relation", "capital_frequency", ""),
    "keywords:frequency": ("relation", "frequency", "keyword"),
    "keywords:letter_frequency": ("let_relation", "let_frequency", "letter"),
}
_EXACT: Final = {
    "length_constraints:number_paragraphs": "num_paragraphs",
    "detectable_format:number_bullet_lists": "num_bullets",
    _LANGUAGE: "language",
}
_ASKED_TEXTS: Final = {
    "keywords:existence": "keywords",
    "length_constraints:nth_paragraph_first_word": "first_word",
    _END: "end_phrase",
    "combination:repeat_prompt": "prompt_to_repeat",
}


class _Asked(NamedTuple):
    kind: str
    arguments: Mapping[str, Any]


def contradiction(constraints: Sequence[Constraint]) -> str | None:
    """Why no answer can meet all of them, in a few words; None where nothing says so.

    Constraints of kinds it knows nothing of, or whose arguments cannot be read, count as possible.
    """
    asked = [_Asked(each.kind, arguments) for each in constraints if (arguments := _arguments(each)) is not None]
    return next(_found(asked), None)


def _arguments(constraint: Constraint) -> Mapping[str, Any] | None:
    try:
        found = json.loads(constraint.kwargs)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _found(asked: Sequence[_Asked]) -> Iterator[str]:
    kinds = {each.kind for each in asked}
    if {_CAPITAL, _LOWER} <= kinds:
        yield "all capitals and all lower case"
    yield from _exact(asked)
    yield from _counted(asked)
    yield from _texts(asked)


def _exact(asked: Sequence[_Asked]) -> Iterator[str]:
    """Two numbers, languages or endings for what an answer has one of."""
    for first, second in combinations(asked, 2):
        name = _EXACT.get(first.kind)
        if name and first.kind == second.kind and first.arguments.get(name) != second.arguments.get(name):
            yield f"{first.kind}: {first.arguments.get(name)} and {second.arguments.get(name)}"
        if first.kind == second.kind == _END:
            ends = [str(each.arguments.get("end_phrase", "")).lower() for each in (first, second)]
            if not (ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])):
                yield f"{_END}: two endings"


def _counted(asked: Sequence[_Asked]) -> Iterator[str]:
    """At least as many as there must be fewer than."""
    least: dict[tuple[str, str], int] = defaultdict(int)
    below: dict[tuple[str, str], int] = {}
    for each in asked:
        if (names := _COUNTS.get(each.kind)) is None:
            continue
        relation, number = (each.arguments.get(name) for name in names[:2])
        counted = (each.kind, str(each.arguments.get(names[2], "")).lower())
        if not isinstance(number, int):
            continue
        if relation == "at least":
            least[counted] = max(least[counted], number)
        elif relation == "less than":
            below[counted] = min(below.get(counted, number), number)
    for counted, number in below.items():
        # An answer has a word and a sentence, and each sentence has a word.
        lowest = max(least[counted], 1 if counted[0] in (_SENTENCES, _WORDS) else 0)
        if counted[0] == _WORDS:
            lowest = max(lowest, least[(_SENTENCES, "")])
        if number <= lowest:
            what = f" {counted[1]}" if counted[1] else ""
            yield f"{counted[0]}{what}: at least {lowest} and less than {number}"


def _texts(asked: Sequence[_Asked]) -> Iterator[str]:
    """Words that must and must not stand in an answer."""
    wanted = [text for each in asked for text in _wanted(each)]
    commas = any(each.kind == "punctuation:no_comma" for each in asked)
    for text in wanted:
        if commas and "," in text:
            yield f"no comma, and {_short(text)} with one"
    for each in asked:
        if each.kind == "keywords:forbidden_words":
            for word in each.arguments.get("forbidden_words") or ():
                for text in wanted:
                    if re.search(rf"\b{re.escape(str(word))}\b", text, re.IGNORECASE):
                        yield f"{word} forbidden, and {_short(text)} asked for"


def _wanted(each: _Asked) -> list[str]:
    if each.kind == "keywords:frequency":
        number, relation = each.arguments.get("frequency"), each.arguments.get("relation")
        return [str(each.arguments.get("keyword", ""))] if relation == "at least" and number else []
    value = each.arguments.get(_ASKED_TEXTS.get(each.kind, ""))
    return [str(one) for one in value] if isinstance(value, list) else [value] if isinstance(value, str) else []


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
