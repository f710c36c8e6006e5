"""Finding and repair of the number of bullet points."""

import re
from random import Random

from spar_core.constraints import formats
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs import phrases
from spar_core.constraints.repairs.editing import amount, fit_case, is_latin, sentences_of
from spar_core.constraints.repairs.table import Stage, register
from spar_core.constraints.text_view import TextView, view

_ITEM = re.compile(r"(\s*)(\*(?!\*)|-)(\s*)(.*)")
_RULE = re.compile(r"\s*-{2,}\s*")
_NUMBERED = re.compile(r"(\s*)\d+[.)]\s+(?=\S)")
_MOST_MADE_UP = 2


def _found(text: TextView, bound: Arguments) -> str:
    count, wanted = formats.bullets(text), bound["num_bullets"]
    return f"the answer has {amount(count, 'bullet point')}; exactly {wanted} are asked"


def _set_bullets(text: TextView, bound: Arguments, rng: Random) -> str | None:
    count, wanted = formats.bullets(text), bound["num_bullets"]
    return _fewer(text.text, wanted, rng) if count > wanted else _more(text.text, wanted, rng)


def _count(lines: list[str]) -> int:
    return formats.bullets(view("\n".join(lines)))


def _fewer(text: str, wanted: int, rng: Random) -> str | None:
    """Rules of dashes go, sub-bullets join their parents, then the last bullets join the one before or go."""
    lines = [line for line in text.split("\n") if not _RULE.fullmatch(line)]
    if wanted == 0:
        return "\n".join(_ITEM.sub(r"\1\4", line) if _is_item(line) else line for line in lines)
    join = rng.random() < 0.5
    while _count(lines) > wanted:
        places = [at for at, line in enumerate(lines) if _is_item(line)]
        inner = [at for at in places if lines[at][:1].isspace()]
        at = (inner or places or [0])[-1]
        if at == 0:
            return None
        item = lines.pop(at)
        previous = at - 1
        if (join or inner) and _is_item(lines[previous]):
            lines[previous] = f"{lines[previous].rstrip().rstrip('.;')}; {_content(item)}"
    return "\n".join(lines)


def _more(text: str, wanted: int, rng: Random) -> str | None:
    """Numbered items get bullets, long bullets are cut in two, sentences become bullets; one or two are made up."""
    lines = text.split("\n")
    numbered = [at for at, line in enumerate(lines) if _NUMBERED.match(line)]
    if numbered and _count(lines) + len(numbered) >= wanted:
        lines = [_NUMBERED.sub(r"\1* ", line) for line in lines]
        return "\n".join(lines) if _count(lines) == wanted else _fewer("\n".join(lines), wanted, rng)
    listed = any(map(_is_item, lines))
    for make in (_split_item, _itemise) if rng.random() < (0.5 if listed else 0.8) else ():
        while _count(lines) < wanted and (longer := make(lines)) is not None:
            lines = longer
    missing = wanted - _count(lines)
    if missing > _MOST_MADE_UP or (missing and not is_latin(text)):
        return None
    items = [at for at, line in enumerate(lines) if _is_item(line)]
    mark, at = (_mark(lines[items[-1]]), items[-1] + 1) if items else ("* ", len(lines))
    added = [mark + fit_case(text, content) for content in rng.sample(phrases.BULLETS, missing)]
    return "\n".join([*lines[:at], *added, *lines[at:]])


def _split_item(lines: list[str]) -> list[str] | None:
    """A bullet of two sentences becomes two."""
    for at, line in enumerate(lines):
        parts = re.split(r"(?<=[a-z)][.!?])\s+(?=[A-Z])", _content(line), maxsplit=1) if _is_item(line) else []
        if len(parts) == 2:
            return [*lines[:at], _mark(line) + parts[0], _mark(line) + parts[1], *lines[at + 1 :]]
    return None


def _itemise(lines: list[str]) -> list[str] | None:
    """The last sentence that stands behind another one in its line becomes a bullet below it."""
    for at in reversed(range(len(lines))):
        spans = sentences_of(lines[at])
        if len(spans) < 2:
            continue
        last = spans[-1]
        before, rest = lines[at][: spans[-2].end], lines[at][last.end :].strip()
        if rest:
            continue
        return [*lines[:at], before, f"* {lines[at][last.start :].strip()}", *lines[at + 1 :]]
    return None


def _is_item(line: str) -> bool:
    return _ITEM.fullmatch(line) is not None


def _content(line: str) -> str:
    found = _ITEM.fullmatch(line)
    return line.strip() if found is None else found[4].strip()


def _mark(line: str) -> str:
    found = _ITEM.fullmatch(line)
    return "* " if found is None else f"{found[1]}{found[2]} "


register(formats.NUMBER_BULLET_LISTS.id, _found, _set_bullets, Stage.LAYOUT)
