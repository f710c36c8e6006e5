"""What an answer of the starter's world names, and the least edit that makes it name what is asked."""

import re
from random import Random

from spar_core.constraints import Arguments, TextView
from spar_core.constraints.repairs import Stage, register
from spar_core.constraints.repairs.editing import fit_case
from spar_core.starter.words import NOTHING, SUBJECTS, TOPICS, VERBS

_DIVIDER = re.compile(r"(\*{3,})")
_SEPARATOR = re.compile(r",? and |, |,?\.?\s*\n[*-] ?")


def register_items(kind_id: str) -> None:
    """Let the kind of that id say what an answer names, and repair it.

    Raises:
        DataError: it does already.
    """
    register(kind_id, _named, _name_as_many, Stage.CONTENT)


def _items(topic: str, text: str) -> list[re.Match[str]]:
    known = set(TOPICS[topic])
    return [word for word in re.finditer(r"[a-z]+", text.lower()) if word[0] in known]


def _named(text: TextView, bound: Arguments) -> str:
    parts = [[word[0] for word in _items(bound["topic"], part)] for part in _DIVIDER.split(text.text)]
    shown = " and then ".join(" ".join(part) for part in parts if part) or NOTHING
    return f"it names {shown}; exactly {bound['count']} different {bound['topic']} are asked"


def _name_as_many(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Items named twice or too many go, missing ones follow the last; in each of several answers that names any."""
    topic, count = bound["topic"], bound["count"]
    if len(text.lowered) != len(text.text) or count > len(TOPICS[topic]):
        return None
    if not _items(topic, text.text):
        named = rng.choice((", ", " and ")).join(rng.sample(TOPICS[topic], count))
        words = f"{rng.choice(SUBJECTS).capitalize()} {rng.choice(VERBS)} {named}."
        return f"{text.text.rstrip()} {fit_case(text.text, words)}"
    return "".join(_mended(part, topic, count, rng) for part in _DIVIDER.split(text.text))


def _mended(part: str, topic: str, count: int, rng: Random) -> str:
    items = _items(topic, part)
    if not items:
        return part
    separator = ", " if len(items) < 2 else part[items[-2].end() : items[-1].start()]
    if _SEPARATOR.fullmatch(separator) is None:
        separator = " and "
    for at in reversed(range(len(items))):
        words = [item[0] for item in items]
        if words[at] in words[:at] or (len(set(words)) > count and words.count(words[at]) == 1):
            part = _without(part, items, at)
            items = _items(topic, part)
    free = [item for item in TOPICS[topic] if item not in {named[0] for named in items}]
    added = "".join(separator + item for item in rng.sample(free, max(0, count - len(items))))
    return f"{part[: items[-1].end()]}{fit_case(part, added)}{part[items[-1].end() :]}"


def _without(part: str, items: list[re.Match[str]], at: int) -> str:
    """The part without one item and the separator before it (after it, if it is the first)."""
    start, end = items[at].span()
    if at > 0 and _SEPARATOR.fullmatch(part[items[at - 1].end() : start]):
        start = items[at - 1].end()
    elif at + 1 < len(items) and _SEPARATOR.fullmatch(part[end : items[at + 1].start()]):
        end = items[at + 1].start()
    return part[:start] + part[end:]
