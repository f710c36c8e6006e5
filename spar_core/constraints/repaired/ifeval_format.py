"""Repaired rules of IFEval's kinds about layout. Each says what the reference does instead."""

import json
import re
from typing import Any, Final

from spar_core.constraints.kind import Arguments, Rule
from spar_core.constraints.text_view import TextView

_BULLET: Final = re.compile(r"^[ \t]*[*+-][ \t]+(?=\S)", re.MULTILINE)
_RULE_LINE: Final = re.compile(r"^[ \t]*(?:[*_-][ \t]*){3,}$", re.MULTILINE)
_HIGHLIGHT: Final = re.compile(r"(?<!\*)(\*{1,3})(?=[^\s*])[^*\n]*[^\s*]\1(?!\*)")
_DIVIDER: Final = re.compile(r"^[ \t]*\*\*\*[ \t]*$", re.MULTILINE)
_BLANK_LINES: Final = re.compile(r"\n[ \t]*\n")
_FIRST_WORD: Final = re.compile(r"\w+(?:['\u2019-]\w+)*")
_BRACKETED: Final = re.compile(r"\[([^\[\]\n]*)\](?!\()")
_LETTERS: Final = re.compile(r"[^\W\d_]{2}")
# What a heading may begin with; bounded, so that a line of signs takes no time quadratic in its length.
_OPENING: Final = r"^[ \t]{0,9}[#>*_\-\"'(\[]{0,9}[ \t]{0,9}[*_]{0,9}"
_CHOICES: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_QUOTES: Final = {'"': '"', "\u201c": "\u201d"}
_QUOTING: Final = '"\u201c\u201d \t\r\n'


def _bullets(text: TextView, bound: Arguments) -> bool:
    """Markdown bullets. The reference also counts rules (---), *emphasis* and -5 at the start of a line."""
    return len(_BULLET.findall(_RULE_LINE.sub("", text.text))) == int(bound["num_bullets"])


def _highlights(text: TextView, bound: Arguments) -> bool:
    """Highlighted spans. The reference pairs any two stars of a line, a bullet's with the next one's among them."""
    return len(_HIGHLIGHT.findall(_BULLET.sub("", text.text))) >= int(bound["num_highlights"])


def _sections(text: TextView, bound: Arguments) -> bool:
    """Sections that begin with their mark. The reference counts mentions anywhere, and one number many times."""
    splitter = re.escape(bound["section_spliter"].strip())
    heads = re.findall(rf"{_OPENING}{splitter}[ \t]*(\d+)\b", text.text, re.MULTILINE)
    return len(set(heads)) >= int(bound["num_sections"])


def _json(text: TextView, _bound: Arguments) -> bool:
    """JSON. The reference takes NaN and Infinity, which are none, and a bare number or word."""
    body = text.stripped
    for fence in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(fence)
    try:
        found = json.loads(body.removesuffix("```").strip(), parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict | list)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _choice(text: TextView, _bound: Arguments) -> bool:
    """One of three sentences. The reference takes an answer that has two of them, or all."""
    return sum(choice in text.text for choice in _CHOICES) == 1


def _paragraphs(text: TextView, bound: Arguments) -> bool:
    """Paragraphs divided by a markdown divider, which is a line. The reference also cuts at ***bold italics***."""
    parts = _DIVIDER.split(text.text)
    filled = [part for part in parts if part.strip()]
    blank_inside = any(not part.strip() for part in parts[1:-1])
    return not blank_inside and len(filled) == int(bound["num_paragraphs"])


def _nth_first_word(text: TextView, bound: Arguments) -> bool:
    """The first word of a paragraph. The reference counts blank ones on the way there, and fails **word** and word:."""
    parts = [part for part in _BLANK_LINES.split(text.text) if part.strip()]
    position = bound["nth_paragraph"]
    if position > len(parts) or len(parts) != bound["num_paragraphs"]:
        return False
    first = _FIRST_WORD.search(parts[position - 1])
    return first is not None and first.group().lower() == bound["first_word"].lower()


def _placeholders(text: TextView, bound: Arguments) -> bool:
    """Placeholders. The reference counts empty brackets, check boxes, footnotes and links."""
    found = sum(1 for inside in _BRACKETED.findall(text.text) if _LETTERS.search(inside))
    return found >= int(bound["num_placeholders"])


def _postscript(text: TextView, bound: Arguments) -> bool:
    """A postscript that starts with a mark. The reference finds the letters anywhere, with nothing after them."""
    letters = re.findall(r"\w", bound["postscript_marker"])
    mark = r"\.?[ \t]?".join(letters) or re.escape(bound["postscript_marker"].strip())
    found = re.compile(rf"{_OPENING}{mark}(?!\w)\W*\w", re.MULTILINE | re.IGNORECASE)
    return found.search(text.text) is not None


def _repeat_prompt(text: TextView, bound: Arguments) -> bool:
    """The request without change, then an answer. The reference asks for no answer and takes other capitals."""
    asked = _cased_like(text.stripped, bound["prompt_to_repeat"].strip())
    return text.stripped.startswith(asked) and re.search(r"\w", text.stripped[len(asked) :]) is not None


def _end_phrase(text: TextView, bound: Arguments) -> bool:
    """A phrase at the end, quoted or not. The reference fails one before a space and a quote, or a curly quote."""
    return text.lowered.rstrip(_QUOTING).endswith(bound["end_phrase"].lower().rstrip(_QUOTING).lstrip())


def _cased_like(text: str, asked: str) -> str:
    """What is asked, in the one case that a text keeps to because its prompt asks for that as well."""
    return asked.upper() if text.isupper() else asked.lower() if text.islower() else asked


def _quotation(text: TextView, _bound: Arguments) -> bool:
    """The whole answer in double quotation marks. The reference knows no curly ones, and takes two marks alone."""
    whole = text.stripped
    return len(whole) > 2 and _QUOTES.get(whole[0]) == whole[-1] and bool(whole[1:-1].strip())


RULES: Final[dict[str, Rule]] = {
    "combination:repeat_prompt": _repeat_prompt,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _choice,
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "length_constraints:nth_paragraph_first_word": _nth_first_word,
    "length_constraints:number_paragraphs": _paragraphs,
    "startend:end_checker": _end_phrase,
    "startend:quotation": _quotation,
}
