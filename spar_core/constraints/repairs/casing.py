"""Findings and repairs of the kinds about letter case, language and commas."""

import re
from collections.abc import Callable
from random import Random

from spar_core.constraints import casing
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs.editing import amount, asked, examples
from spar_core.constraints.repairs.openings import ADVERBS
from spar_core.constraints.repairs.table import Edit, Finding, Stage, register
from spar_core.constraints.text_view import TextView
from spar_core.constraints.vocabulary import LANGUAGE_NAMES

_LIST = re.compile(r"\b(?P<items>(?:[\w'-]+(?: [\w'-]+)?, )+)(?P<last>[\w'-]+(?: [\w'-]+)?),? (?P<join>and|or) (?=\w)")
_INTERJECTIONS = frozenset({"ah", "hello", "hi", "no", "oh", "okay", "please", "sure", "well", "yes"})
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_PLAIN = re.compile(r"(?<![\w'*-])[A-Za-z][a-z]{3,}(?![\w'*-])")
_CAPITALS = re.compile(r"(?<![\w-])(?<!\d )[A-Z][A-Z0-9]+(?![\w-])")
_ARTICLE = re.compile(r"\bA(?= [a-z])")


def _commas(text: TextView, _bound: Arguments) -> str:
    return f"{amount(text.text.count(','), 'comma')}; none are allowed"


def _drop_commas(text: TextView, _bound: Arguments, rng: Random) -> str:
    """Numbers close up, a list of short items is joined by its own conjunction, every other comma goes."""
    whole = _THOUSANDS.sub("", text.text)
    if rng.random() < 0.7:
        whole = _LIST.sub(_joined, whole)
    whole = re.sub(r",(?=\s|[\"')\]]|$)", "", whole)
    return re.sub(r" ?, ?", " ", whole)


def _joined(found: re.Match[str]) -> str:
    items = [*found["items"].removesuffix(", ").split(", "), found["last"]]
    opening = f"{items.pop(0)} " if items[0].lower() in ADVERBS | _INTERJECTIONS else ""
    join = f" {found['join']} "
    return opening + join.join(items) + join


def _in_case(name: str, is_right: Callable[[str], bool]) -> Finding:
    def say(text: TextView, _bound: Arguments) -> str:
        wrong = [word for word in text.text.split() if not is_right(word) and word.lower() != word.upper()]
        if not wrong:
            return "it is not taken for English; English is asked"
        return (
            f"{amount(len(wrong), 'word')} not in {name} letters ({examples(wrong)}); only {name} letters are allowed"
        )

    return say


def _recased(form: Callable[[str], str]) -> Edit:
    return lambda text, _bound, _rng: form(text.text)


def _capital_words(text: TextView, bound: Arguments) -> str:
    wanted = asked(bound["capital_relation"], bound["capital_frequency"])
    return f"{amount(text.capital_count, 'word')} in capital letters; {wanted} are asked"


def _set_capital_words(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Words of four letters or more put in capitals, or capitals made small, longest first (an acronym is last)."""
    if bound["capital_relation"] == "at least":
        places = list(_PLAIN.finditer(text.text))
        missing = bound["capital_frequency"] - text.capital_count
        chosen = rng.sample(places, missing) if missing <= len(places) else []
        return _replaced(text.text, chosen, str.upper) if chosen else None
    excess = text.capital_count - bound["capital_frequency"] + 1
    places = sorted(_CAPITALS.finditer(text.text), key=lambda found: -len(found[0]))
    places += _ARTICLE.finditer(text.text)
    if excess > len(places):
        return None
    return _replaced(text.text, places[:excess], lambda word: "One" if word == "A" else _small(word))


def _small(word: str) -> str:
    return word.lower() if len(word) > 4 else word.capitalize()


def _replaced(text: str, places: list[re.Match[str]], form: Callable[[str], str]) -> str:
    for found in sorted(places, key=lambda found: -found.start()):
        text = text[: found.start()] + form(found[0]) + text[found.end() :]
    return text


def _language(text: TextView, bound: Arguments) -> str:
    found, wanted = text.language or "no language", bound["language"]
    return f"it is in {LANGUAGE_NAMES.get(found, found)}; {LANGUAGE_NAMES.get(wanted, wanted)} is asked"


register(casing.NO_COMMA.id, _commas, _drop_commas, Stage.CASE)
register(casing.ENGLISH_CAPITAL.id, _in_case("capital", str.isupper), _recased(str.upper), Stage.CASE)
register(casing.ENGLISH_LOWERCASE.id, _in_case("small", str.islower), _recased(str.lower), Stage.CASE)
register(casing.CAPITAL_WORDS.id, _capital_words, _set_capital_words, Stage.CASE)
register(casing.RESPONSE_LANGUAGE.id, _language)
