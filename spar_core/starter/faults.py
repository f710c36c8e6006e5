"""How an answer breaks a constraint: as if it had not been asked for (omitted), or tried and failed (a near miss)."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal

from spar_core.records import Prompt
from spar_core.starter import world
from spar_core.starter.answers import Plan, arguments_of, named_from, second_items
from spar_core.starter.words import END_PHRASES, FIRST_WORDS, KEYWORDS, TOPICS

# The fields of a plan that an answer leaves at these values if it does nothing about the kind.
_UNTOUCHED: Final[dict[str, dict[str, Any]]] = {
    world.UPPER: {"case": "sentence", "flipped_word": None},
    world.LOWER: {"case": "sentence", "flipped_word": None},
    world.KEYWORD: {"keyword": None},
    world.END: {"end": None},
    world.FIRST: {"first": None},
    world.NO_COMMA: {"commas": "all"},
    world.TITLE: {"title": None},
    world.QUOTES: {"quotes": (False, False)},
    world.POSTSCRIPT: {"postscript": "no"},
    world.BULLETS: {"bullets": "no"},
    world.TWICE: {"repeated": None},
    world.PLACEHOLDER: {"placeholder": "no"},
    world.HIGHLIGHT: {"highlight": "no"},
    world.PARAGRAPHS: {"paragraphs": "no"},
    world.SECTIONS: {"sections": "no"},
    world.TWO_ANSWERS: {"second": ()},
}
_HALF_DONE: Final[dict[str, dict[str, Any]]] = {
    world.NO_COMMA: {"commas": "last"},
    world.POSTSCRIPT: {"postscript": "broken"},
    world.BULLETS: {"bullets": "broken"},
    world.PLACEHOLDER: {"placeholder": "broken"},
    world.HIGHLIGHT: {"highlight": "broken"},
    world.PARAGRAPHS: {"paragraphs": "broken"},
    world.SECTIONS: {"sections": "broken"},
}


def omit(plan: Plan, prompt: Prompt, kind: str, rng: random.Random) -> Plan:
    """The plan as written by someone who did not see this constraint (items: who miscounted)."""
    if kind == world.ITEMS:
        topic = arguments_of(prompt)[world.ITEMS]["topic"]
        return replace(plan, items=_miscounted(named_from(prompt, plan.style.start), topic, rng))
    if kind == world.FORBIDDEN:
        return _naming_the_forbidden(plan, prompt, rng)
    return replace(plan, **_UNTOUCHED[kind])


def corrupt(plan: Plan, prompt: Prompt, kind: str, rng: random.Random) -> Plan:
    """The plan with this constraint attempted but broken: a wrong word, one item twice, a missing closing mark.

    A forbidden word has no near miss: it is named.
    """
    if kind in _HALF_DONE:
        return replace(plan, **_HALF_DONE[kind])
    arguments = arguments_of(prompt).get(kind, {})
    case: Literal["upper", "lower"] = "upper" if kind == world.UPPER else "lower"
    broken: dict[str, Callable[[], Plan]] = {
        world.ITEMS: lambda: replace(plan, items=_corrupted_items(named_from(prompt, plan.style.start), rng)),
        world.UPPER: lambda: replace(plan, case=case, flipped_word=rng.randrange(6)),
        world.LOWER: lambda: replace(plan, case=case, flipped_word=rng.randrange(6)),
        world.KEYWORD: lambda: replace(plan, keyword=_other(KEYWORDS["train"], arguments["keywords"][0], rng)),
        world.END: lambda: replace(plan, end=_corrupted_phrase(arguments["end_phrase"], rng)),
        world.FIRST: lambda: replace(plan, first=_other(FIRST_WORDS["train"], arguments["first_word"], rng)),
        world.TITLE: lambda: replace(plan, title=arguments_of(prompt)[world.ITEMS]["topic"], title_closed=False),
        world.QUOTES: lambda: replace(plan, quotes=rng.choice(((True, False), (False, True)))),
        world.TWICE: lambda: replace(plan, repeated=(arguments["keyword"], 1)),
        world.TWO_ANSWERS: lambda: replace(plan, second=second_items(prompt, plan.style.start), second_divided=False),
        world.FORBIDDEN: lambda: _naming_the_forbidden(plan, prompt, rng),
    }
    return broken[kind]()


def is_omitted(plan: Plan, kind: str) -> bool:
    """Whether the plan does nothing about the kind, so that a break of it is no near miss.

    Items are always attempted; a forbidden word that is named was overlooked.
    """
    if kind in (world.ITEMS, world.FORBIDDEN):
        return kind == world.FORBIDDEN
    untouched = {field: value for field, value in _UNTOUCHED[kind].items() if field != "flipped_word"}
    return all(getattr(plan, field) == value for field, value in untouched.items())


def _naming_the_forbidden(plan: Plan, prompt: Prompt, rng: random.Random) -> Plan:
    arguments = arguments_of(prompt)
    order, count = TOPICS[arguments[world.ITEMS]["topic"]], arguments[world.ITEMS]["count"]
    forbidden = order.index(arguments[world.FORBIDDEN]["forbidden_words"][0])
    start = (forbidden - rng.randrange(count)) % len(order)
    allowed = replace(prompt, constraints=tuple(c for c in prompt.constraints if c.kind != world.FORBIDDEN))
    second = second_items(allowed, start) if plan.second else ()
    return replace(plan, items=named_from(allowed, start), second=second, style=replace(plan.style, start=start))


def _miscounted(items: tuple[str, ...], topic: str, rng: random.Random) -> tuple[str, ...]:
    """One item too few or too many (the next of the topic's order)."""
    if rng.random() < 0.5:
        return items[:-1]
    order = TOPICS[topic]
    return (*items, order[(order.index(items[-1]) + 1) % len(order)])


def _corrupted_items(items: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    position = rng.randrange(len(items))
    choice = rng.random()
    if choice < 0.4:
        return items[:position] + items[position + 1 :]
    if choice < 0.7:
        repeated = items[max(position - 1, 0)] if position else items[-1]
        return (*items[:position], repeated, *items[position + 1 :])
    return (*items, items[position])


def _corrupted_phrase(phrase: str, rng: random.Random) -> str:
    words = phrase.split()
    if rng.random() < 0.3:
        return _other(END_PHRASES["train"], phrase, rng)
    if rng.random() < 0.4:
        return " ".join(words[:-1])
    pool = [word for entry in END_PHRASES["train"] for word in entry.split()]
    position = rng.randrange(len(words))
    words[position] = _other(tuple(pool), words[position], rng)
    return " ".join(words)


def _other(bank: tuple[str, ...], used: str | None, rng: random.Random) -> str:
    return rng.choice([entry for entry in bank if entry != used])
