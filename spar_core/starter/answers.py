"""Answers as plans: what an answer does about every kind of constraint, and how it reads.

A plan holds one field per kind, so that the teacher can break or mend one constraint and leave the rest alone.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from spar_core.records import Prompt
from spar_core.starter.words import (
    END_PHRASES,
    FIRST_WORDS,
    GREETINGS,
    KEYWORDS,
    LINKERS,
    POINTERS,
    SUBJECTS,
    TOPICS,
    VERBS,
)
from spar_core.starter.world import (
    BULLETS,
    END,
    FIRST,
    FORBIDDEN,
    ITEMS,
    KEYWORD,
    LOWER,
    NO_COMMA,
    PLACEHOLDER,
    POSTSCRIPT,
    QUOTES,
    TITLE,
    TWICE,
    UPPER,
)

_WRONG_KEYWORDS: Final = KEYWORDS["train"]


@dataclass(frozen=True, slots=True)
class Style:
    """What no constraint cares about: where in the topic's order the items start, and the choice of words."""

    start: int = 0
    subject: str = SUBJECTS[0]
    verb: str = VERBS[0]
    linker: str = LINKERS[0]
    pointer: str = POINTERS[0]
    greeting: str = GREETINGS[0]


@dataclass(frozen=True, slots=True)
class Plan:
    """What an answer says and how. The defaults are those of an answer to a bare "Name three birds."."""

    items: tuple[str, ...]
    style: Style = Style()
    case: Literal["sentence", "upper", "lower"] = "sentence"
    flipped_word: int | None = None  # index of the one word that breaks the case
    keyword: str | None = None
    end: str | None = None
    first: str | None = None
    commas: bool = True
    title: str | None = None
    quotes: tuple[bool, bool] = (False, False)
    postscript: bool = False
    bullets: bool = False
    repeated: tuple[str, int] | None = None  # a word and how often
    placeholder: bool = False


def random_style(rng: random.Random) -> Style:
    """One of the many styles, all alike likely."""
    return Style(
        rng.randrange(min(map(len, TOPICS.values()))),
        rng.choice(SUBJECTS),
        rng.choice(VERBS),
        rng.choice(LINKERS),
        rng.choice(POINTERS),
        rng.choice(GREETINGS),
    )


def right_plan(prompt: Prompt, style: Style | None = None) -> Plan:
    """The plan of the right answer in this style: items in the topic's order from the style's start, all met."""
    plan = Plan(items=(), style=style or Style())
    for constraint in prompt.constraints:
        plan = mend(plan, prompt, constraint.kind)
    return plan


def mend(plan: Plan, prompt: Prompt, kind: str) -> Plan:
    """The plan with this kind of constraint met and every other field as it was."""
    arguments = {c.kind: json.loads(c.kwargs) for c in prompt.constraints}
    if kind in (ITEMS, FORBIDDEN):
        avoided = tuple(arguments.get(FORBIDDEN, {}).get("forbidden_words", ()))
        return replace(plan, items=_named(arguments[ITEMS], plan.style.start, avoided))
    own = arguments[kind]
    changes: dict[str, Callable[[], Plan]] = {
        UPPER: lambda: replace(plan, case="upper", flipped_word=None),
        LOWER: lambda: replace(plan, case="lower", flipped_word=None),
        KEYWORD: lambda: replace(plan, keyword=own["keywords"][0]),
        END: lambda: replace(plan, end=own["end_phrase"]),
        FIRST: lambda: replace(plan, first=own["first_word"], title=None),
        NO_COMMA: lambda: replace(plan, commas=False),
        TITLE: lambda: replace(plan, title=arguments[ITEMS]["topic"], first=None),
        QUOTES: lambda: replace(plan, quotes=(True, True)),
        POSTSCRIPT: lambda: replace(plan, postscript=True),
        BULLETS: lambda: replace(plan, bullets=True),
        TWICE: lambda: replace(plan, repeated=(own["keyword"], own["frequency"])),
        PLACEHOLDER: lambda: replace(plan, placeholder=True),
    }
    return changes[kind]()


def omit(plan: Plan, prompt: Prompt, kind: str, rng: random.Random) -> Plan:
    """The plan as written by someone who did not see this constraint (items: who miscounted)."""
    arguments = {c.kind: json.loads(c.kwargs) for c in prompt.constraints}
    if kind == ITEMS:
        return replace(plan, items=_miscounted(plan.items, arguments[ITEMS]["topic"], rng))
    if kind == FORBIDDEN:
        order = TOPICS[arguments[ITEMS]["topic"]]
        forbidden = order.index(arguments[FORBIDDEN]["forbidden_words"][0])
        start = (forbidden - rng.randrange(arguments[ITEMS]["count"])) % len(order)
        return replace(plan, items=_named(arguments[ITEMS], start, ()), style=replace(plan.style, start=start))
    return {
        UPPER: replace(plan, case="sentence", flipped_word=None),
        LOWER: replace(plan, case="sentence", flipped_word=None),
        KEYWORD: replace(plan, keyword=None),
        END: replace(plan, end=None),
        FIRST: replace(plan, first=None),
        NO_COMMA: replace(plan, commas=True),
        TITLE: replace(plan, title=None),
        QUOTES: replace(plan, quotes=(False, False)),
        POSTSCRIPT: replace(plan, postscript=False),
        BULLETS: replace(plan, bullets=False),
        TWICE: replace(plan, repeated=None),
        PLACEHOLDER: replace(plan, placeholder=False),
    }[kind]


def corrupt(plan: Plan, prompt: Prompt, kind: str, rng: random.Random) -> Plan:
    """The plan with this constraint attempted but broken: a wrong word, one item twice, a missing closing quote."""
    if kind == ITEMS:
        return replace(plan, items=_corrupted_items(plan.items, rng))
    if kind in (UPPER, LOWER):
        wrong_case: Literal["upper", "lower"] = "lower" if kind == UPPER else "upper"
        if rng.random() < 0.3:
            return replace(plan, case=wrong_case, flipped_word=None)
        return replace(plan, flipped_word=rng.randrange(6))
    if kind == KEYWORD:
        return replace(plan, keyword=_other(_WRONG_KEYWORDS, plan.keyword, rng))
    if kind == END:
        return replace(plan, end=_corrupted_phrase(plan.end or "all done", rng))
    if kind == FIRST:
        return replace(plan, first=_other(FIRST_WORDS["train"], plan.first, rng))
    if kind == TWICE and plan.repeated:
        return replace(plan, repeated=(plan.repeated[0], 1))
    if kind == QUOTES:
        return replace(plan, quotes=rng.choice(((True, False), (False, True))))
    return omit(plan, prompt, kind, rng)


def render(plan: Plan) -> str:
    """The answer's text."""
    body = _body(plan)
    if plan.keyword:
        body += f" {plan.style.linker.capitalize()} {plan.keyword}."
    if plan.repeated:
        word, times = plan.repeated
        body += f" More {' and '.join([word] * times)}."
    if plan.placeholder:
        body += f" {plan.style.pointer.capitalize()} [link]."
    if plan.postscript:
        body += f"\nP.S. {plan.style.greeting.capitalize()}."
    if plan.end:
        body += " " + plan.end.capitalize()
    if plan.title:
        body = f"<<{plan.title.capitalize()}>>\n{body}"
    cased = {"sentence": body, "upper": body.upper(), "lower": body.lower()}[plan.case]
    if plan.flipped_word is not None:
        cased = _flip(cased, plan.flipped_word)
    opening, closing = ('"' if quote else "" for quote in plan.quotes)
    return f"{opening}{cased}{closing}"


def _body(plan: Plan) -> str:
    lead = f"{plan.style.subject} {plan.style.verb}"
    lead = f"{plan.first.capitalize()} {lead}" if plan.first else lead.capitalize()
    if plan.bullets:
        return lead + ":" + "".join(f"\n* {item}" for item in plan.items) + "."
    return f"{lead} {(', ' if plan.commas else ' and ').join(plan.items)}."


def _flip(text: str, index: int) -> str:
    """Turn the case of one word (counted over all words, modulo their number); "P.S." is left alone."""
    words = text.split(" ")
    position = index % len(words)
    word = words[position]
    words[position] = word.lower() if word.isupper() else word.upper()
    return " ".join(words)


def _named(arguments: dict[str, Any], start: int, avoided: tuple[str, ...]) -> tuple[str, ...]:
    """`count` items in the topic's order, from place `start` on and round the end."""
    order = TOPICS[arguments["topic"]]
    turned = order[start:] + order[:start]
    return tuple(item for item in turned if item not in avoided)[: arguments["count"]]


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
