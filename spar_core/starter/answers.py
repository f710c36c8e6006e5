"""Answers as plans: what an answer does about every kind of constraint, and how it reads.

A plan holds one field per kind, so that the teacher can break or mend one constraint and leave the rest alone.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from spar_core.records import Prompt
from spar_core.starter import world
from spar_core.starter.words import CLOSERS, GREETINGS, LINKERS, POINTERS, SUBJECTS, TOPICS, VERBS

Attempt = Literal["no", "broken", "yes"]
"""What an answer does about a mark: nothing, half of it (no closing bracket, say), or all."""

_POSTSCRIPT_MARK: Final[dict[Attempt, str]] = {"broken": "PS", "yes": "P.S."}


@dataclass(frozen=True, slots=True)
class Style:
    """What no constraint cares about: where in the topic's order the items start, and the choice of words."""

    start: int = 0
    subject: str = SUBJECTS[0]
    verb: str = VERBS[0]
    linker: str = LINKERS[0]
    pointer: str = POINTERS[0]
    greeting: str = GREETINGS[0]
    closer: str = CLOSERS[0]


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
    commas: Literal["all", "last", "none"] = "all"
    title: str | None = None
    title_closed: bool = True
    quotes: tuple[bool, bool] = (False, False)
    postscript: Attempt = "no"
    bullets: Attempt = "no"
    repeated: tuple[str, int] | None = None  # a word and how often
    placeholder: Attempt = "no"
    highlight: Attempt = "no"
    paragraphs: Attempt = "no"
    sections: Attempt = "no"
    second: tuple[str, ...] = ()  # items of a second answer
    second_divided: bool = True


def random_style(rng: random.Random) -> Style:
    """One of the many styles, all alike likely."""
    return Style(
        rng.randrange(min(map(len, TOPICS.values()))),
        rng.choice(SUBJECTS),
        rng.choice(VERBS),
        rng.choice(LINKERS),
        rng.choice(POINTERS),
        rng.choice(GREETINGS),
        rng.choice(CLOSERS),
    )


def right_plan(prompt: Prompt, style: Style | None = None) -> Plan:
    """The plan of the right answer in this style: items in the topic's order from the style's start, all met."""
    plan = Plan(items=(), style=style or Style())
    for constraint in prompt.constraints:
        plan = mend(plan, prompt, constraint.kind)
    return plan


def mend(plan: Plan, prompt: Prompt, kind: str) -> Plan:
    """The plan with this kind of constraint met and every other field as it was."""
    arguments = arguments_of(prompt)
    if kind in (world.ITEMS, world.FORBIDDEN):
        items = named_from(prompt, plan.style.start)
        return replace(plan, items=items, second=second_items(prompt, plan.style.start) if plan.second else ())
    own = arguments[kind]
    changes: dict[str, Callable[[], Plan]] = {
        world.UPPER: lambda: replace(plan, case="upper", flipped_word=None),
        world.LOWER: lambda: replace(plan, case="lower", flipped_word=None),
        world.KEYWORD: lambda: replace(plan, keyword=own["keywords"][0]),
        world.END: lambda: replace(plan, end=own["end_phrase"]),
        world.FIRST: lambda: replace(plan, first=own["first_word"], title=None),
        world.NO_COMMA: lambda: replace(plan, commas="none"),
        world.TITLE: lambda: replace(plan, title=arguments[world.ITEMS]["topic"], title_closed=True, first=None),
        world.QUOTES: lambda: replace(plan, quotes=(True, True)),
        world.POSTSCRIPT: lambda: replace(plan, postscript="yes"),
        world.BULLETS: lambda: replace(plan, bullets="yes"),
        world.TWICE: lambda: replace(plan, repeated=(own["keyword"], own["frequency"])),
        world.PLACEHOLDER: lambda: replace(plan, placeholder="yes"),
        world.HIGHLIGHT: lambda: replace(plan, highlight="yes"),
        world.PARAGRAPHS: lambda: replace(plan, paragraphs="yes"),
        world.SECTIONS: lambda: replace(plan, sections="yes"),
        world.TWO_ANSWERS: lambda: replace(plan, second=second_items(prompt, plan.style.start), second_divided=True),
    }
    return changes[kind]()


def arguments_of(prompt: Prompt) -> dict[str, dict[str, Any]]:
    """The arguments of every constraint, by kind."""
    return {c.kind: json.loads(c.kwargs) for c in prompt.constraints}


def named_from(prompt: Prompt, start: int, skipped: int = 0) -> tuple[str, ...]:
    """As many items as asked, in the topic's order from place `start` on and round the end, none forbidden.

    The first `skipped` of those are left out.
    """
    arguments = arguments_of(prompt)
    avoided = arguments.get(world.FORBIDDEN, {}).get("forbidden_words", ())
    order = TOPICS[arguments[world.ITEMS]["topic"]]
    turned = order[start:] + order[:start]
    return tuple(item for item in turned if item not in avoided)[skipped : skipped + arguments[world.ITEMS]["count"]]


def second_items(prompt: Prompt, start: int) -> tuple[str, ...]:
    """The items of the second of two answers: the first one's but for its first, and one more."""
    return named_from(prompt, start, skipped=1)


def render(plan: Plan) -> str:
    """The answer's text."""
    body = _body(plan)
    if plan.keyword:
        body += f" {plan.style.linker.capitalize()} {plan.keyword}."
    if plan.repeated:
        word, times = plan.repeated
        body += f" More {' and '.join([word] * times)}."
    if plan.placeholder != "no":
        body += f" {plan.style.pointer.capitalize()} [link{']' if plan.placeholder == 'yes' else ''}."
    if plan.postscript != "no":
        body += f"\n{_POSTSCRIPT_MARK[plan.postscript]} {plan.style.greeting.capitalize()}."
    if plan.end:
        body += " " + plan.end.capitalize()
    if plan.title:
        body = f"<<{plan.title.capitalize()}{'>>' if plan.title_closed else ''}\n{body}"
    cased = {"sentence": body, "upper": body.upper(), "lower": body.lower()}[plan.case]
    if plan.flipped_word is not None:
        cased = _flip(cased, plan.flipped_word)
    opening, closing = ('"' if quote else "" for quote in plan.quotes)
    return f"{opening}{cased}{closing}"


def _body(plan: Plan) -> str:
    """What names the items: one or two answers, with headings or a second paragraph."""
    body = _lead(plan, plan.first) + _listed(plan, plan.items, plan.highlight)
    if plan.second:
        divider = "******" if plan.second_divided else "***"
        body += f"\n{divider}\n{_lead(plan, None)}{_listed(plan, plan.second, 'no')}"
    if plan.paragraphs != "no":
        body += f"\n{'***' if plan.paragraphs == 'yes' else '**'}\n{plan.style.closer.capitalize()}."
    if plan.sections != "no":
        heading = "Part 2\n" if plan.sections == "yes" else ""
        body = f"Part 1\n{body}\n{heading}{plan.style.closer.capitalize()}."
    return body


def _lead(plan: Plan, first: str | None) -> str:
    lead = f"{plan.style.subject} {plan.style.verb}"
    return f"{first.capitalize()} {lead}" if first else lead.capitalize()


def _listed(plan: Plan, items: tuple[str, ...], highlight: Attempt) -> str:
    if plan.bullets != "no":
        shown = list(items)
        if plan.bullets == "broken" and len(shown) > 1:
            shown[-2:] = [f"{shown[-2]}, {shown[-1]}"]
        return ":" + "".join(f"\n* {item}" for item in shown) + "."
    marked = {"no": "{}", "broken": "** {}", "yes": "** {} **"}[highlight].format(items[0]) if items else ""
    shown = [marked, *items[1:]]
    separator = ", " if plan.commas == "all" else " and "
    if plan.commas == "last" and len(shown) > 1:
        return f" {' and '.join(shown[:-1])}, {shown[-1]}."
    return f" {separator.join(shown)}."


def _flip(text: str, index: int) -> str:
    """Turn the case of one word (counted over all words, modulo their number)."""
    words = text.split(" ")
    places = [place for place, word in enumerate(words) if any(letter.isalpha() for letter in word)]
    position = places[index % len(places)]
    word = words[position]
    words[position] = word.lower() if word.isupper() else word.upper()
    return " ".join(words)
