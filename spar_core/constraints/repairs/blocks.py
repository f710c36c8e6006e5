"""Findings and repairs of the kinds about paragraphs, sections and two responses."""

import re
from collections.abc import Callable
from random import Random

from spar_core.constraints import composition, formats, lengths
from spar_core.constraints.kind import Arguments
from spar_core.constraints.repairs import openings, phrases
from spar_core.constraints.repairs.editing import amount, fit_case, is_latin, sentences_of
from spar_core.constraints.repairs.table import Stage, register
from spar_core.constraints.text_view import TextView

_DIVIDER = re.compile(r"\s?\*\*\*\s?")
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n")
_HEADING = re.compile(r"#{1,6} +")
_OTHER_DIVIDER = re.compile(
    r"\n\s*(?:\*{3,}|-{3,}|_{3,}|={3,})[ \t]*\n|\n(?=\W*(?:response|answer|option) 2\b)", re.IGNORECASE
)
_TWO = "******"
_FEWEST_TO_SHORTEN = 3  # sentences


def _pieces(text: str) -> list[str]:
    return [part for part in _DIVIDER.split(text) if part.strip()]


def _divided(text: TextView, bound: Arguments) -> str:
    count, wanted = len(_pieces(text.text)), bound["num_paragraphs"]
    return f"dividers (***) make {amount(count, 'paragraph')}; exactly {wanted} are asked"


def _divide(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Stars around a phrase go, dividers too many become blank lines, missing ones come where a paragraph starts."""
    plain = re.sub(r"\*\*\*(?=\S)([^*\n]+)\*\*\*", r"**\1**", text.text.strip())
    parts = _resized([part.strip("\n ") for part in _pieces(plain)], bound["num_paragraphs"], "\n\n", _halved, rng)
    return None if parts is None else rng.choice(("\n***\n", "\n\n***\n\n")).join(parts)


def _numbered(text: TextView, bound: Arguments) -> str:
    parts = text.text.split("\n\n")
    filled, place = [part for part in parts if part.strip()], bound["nth_paragraph"]
    words = parts[place - 1].split(maxsplit=1) if place <= len(parts) else []
    opening = f'; paragraph {place} starts with "{words[0]}"' if words else ""
    wanted = f'exactly {bound["num_paragraphs"]} and "{bound["first_word"]}" at the start of number {place} are asked'
    return f"it has {amount(len(filled), 'paragraph')}{opening}; {wanted}"


def _open_paragraph(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Blank lines come or go until the number is right, then the word opens a sentence of its paragraph."""
    filled = [part.strip("\n") for part in text.text.strip().split("\n\n") if part.strip()]
    parts = _resized(filled, bound["num_paragraphs"], "\n", _halved_at_line, rng)
    place, word = bound["nth_paragraph"] - 1, bound["first_word"]
    if parts is None or place >= len(parts):
        return None
    first = parts[place].split(maxsplit=1)[0] if parts[place].split() else ""
    if first.lower().strip(".,?!'\"") != word.lower():
        parts[place] = openings.opened(parts[place], word, text.text, rng)
    return "\n\n".join(parts)


Halve = Callable[[str, Random], tuple[str, str] | None]


def _resized(parts: list[str], count: int, joint: str, halve: Halve, rng: Random) -> list[str] | None:
    """Exactly `count` parts: the shortest neighbours joined, or the longest parts cut in two; None if too short."""
    if count < 1 or not parts:
        return None
    while len(parts) > count:
        at = min(range(len(parts) - 1), key=lambda i: len(parts[i]) + len(parts[i + 1]))
        parts[at : at + 2] = [f"{parts[at]}{joint}{parts[at + 1]}"]
    while len(parts) < count:
        for at in sorted(range(len(parts)), key=lambda i: -len(parts[i])):
            halves = halve(parts[at], rng)
            if halves is not None:
                parts[at : at + 1] = halves
                break
        else:
            return None
    return parts


def _halved(text: str, rng: Random) -> tuple[str, str] | None:
    """Cut at the blank line nearest to the middle, else at a line, else after a sentence."""
    cut = _nearest([found.span() for found in _BLANK.finditer(text)], text)
    return cut or _halved_at_line(text, rng)


def _halved_at_line(text: str, _rng: Random) -> tuple[str, str] | None:
    cut = _nearest([found.span() for found in _LINE.finditer(text)], text)
    return cut or _nearest([(span.end, span.end) for span in sentences_of(text)], text)


def _nearest(gaps: list[tuple[int, int]], text: str) -> tuple[str, str] | None:
    halves = [(text[:start].rstrip(), text[end:].strip()) for start, end in gaps]
    halves = [pair for pair in halves if all(pair)]
    return min(halves, key=lambda pair: abs(len(pair[0]) - len(pair[1]))) if halves else None


def _headed(text: TextView, bound: Arguments) -> str:
    name = bound["section_spliter"].strip()
    count = len(re.findall(rf"{re.escape(name)}\s?\d+", text.text))
    return f'it has {amount(count, "section")} headed "{name}" and a number; at least {bound["num_sections"]} are asked'


def _head_sections(text: TextView, bound: Arguments, rng: Random) -> str | None:
    """Headings before as many of the answer's blocks as are missing; all are numbered anew."""
    name, wanted = bound["section_spliter"].strip(), bound["num_sections"]
    mark = re.compile(rf"{re.escape(name)}\s?\d+")
    whole = text.text
    starts = [0, *(found.end() for found in _BLANK.finditer(whole.rstrip()))]
    if len(starts) < wanted:
        starts = [0, *(found.end() for found in re.finditer(r"\n+(?=\S)", whole.rstrip()))]
    if len(starts) < wanted:
        starts += [span.end + 1 for span in sentences_of(whole) if whole[span.end : span.end + 1] == " "]
    free = [
        start
        for start in sorted(set(starts))
        if not (mark.search(line := whole[start:].split("\n", 1)[0]) or line.startswith("<<"))
    ]
    missing = wanted - len(mark.findall(whole))
    headed = [start for start in free if _HEADING.match(whole, start)]
    if len(headed) < missing:
        headed = free
    if len(headed) < missing:
        return None
    chosen = [headed[len(headed) * number // missing] for number in range(missing)]
    ending = rng.choice(("\n", "\n", ":\n"))
    for start in reversed(chosen):
        whole = _with_heading(whole, start, f"{name} 0", ending)
    numbers = iter(range(1, wanted + 1))
    return mark.sub(lambda found: f"{name} {next(numbers, wanted)}", whole)


def _with_heading(text: str, start: int, heading: str, ending: str) -> str:
    before, rest = text[:start], text[start:]
    marks = _HEADING.match(rest)
    if marks is not None:
        return f"{before}{marks[0]}{heading}: {rest[marks.end() :]}"
    if before.endswith(" "):
        before = before.rstrip(" ") + "\n"
    return f"{before}{heading}{ending}{rest}"


def _answers(text: TextView, _bound: Arguments) -> str:
    count = len({part.strip() for part in text.text.split(_TWO) if part.strip()})
    return f"it has {amount(count, 'response')} divided by {_TWO}; exactly two different ones are asked"


def _answer_twice(text: TextView, _bound: Arguments, rng: Random) -> str | None:
    """Dividers too many or of another form become right; else a shorter answer of the same sentences follows."""
    parts = [part.strip() for part in text.text.split(_TWO) if part.strip()]
    parts = list(dict.fromkeys(parts))
    if len(parts) == 1:
        dividers = [found.span() for found in _OTHER_DIVIDER.finditer(parts[0])]
        halves = _nearest(dividers, parts[0]) if len(dividers) == 1 else None
        shorter = None if halves else _shortened(parts[0], rng)
        parts = [*halves] if halves else [parts[0], *([shorter] if shorter else [])]
    if len(parts) < 2:
        return None
    joint = rng.choice(("\n", "\n\n"))
    first, *others = parts
    return f"{first}{joint}{_TWO}{joint}{joint.join(others)}"


def _shortened(text: str, rng: Random) -> str | None:
    """A text's first sentences and its last, announced as a shorter answer; None for one of less than three."""
    sentences = [text[span.start : span.end] for span in sentences_of(text)]
    if len(sentences) < _FEWEST_TO_SHORTEN or not is_latin(text):
        return None
    kept = [*sentences[: max(1, len(sentences) // 4)], sentences[-1]]
    return f"{fit_case(text, rng.choice(phrases.SHORTER))} {' '.join(kept)}"


register(lengths.NUMBER_PARAGRAPHS.id, _divided, _divide, Stage.LAYOUT)
register(lengths.NTH_PARAGRAPH_FIRST_WORD.id, _numbered, _open_paragraph, Stage.ENDS)
register(formats.MULTIPLE_SECTIONS.id, _headed, _head_sections, Stage.LAYOUT)
register(composition.TWO_RESPONSES.id, _answers, _answer_twice, Stage.LAYOUT)
