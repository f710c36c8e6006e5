"""Kinds about markup and layout that a program can detect, with IFEval's rules.

The rules are stated in the benchmark as regular expressions; where one of those takes time quadratic
in the length of the text, the rule here counts the same matches in one pass.
"""

import json
import re
from random import Random
from typing import Any

from spar_core.constraints import arguments, patterns
from spar_core.constraints.kind import Arguments, Kind, SamplingContext, worded
from spar_core.constraints.registry import register
from spar_core.constraints.text_view import TextView

CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_DOUBLE_STARRED = re.compile(r"\*\*([^\n*]*)\*\*")
_FENCES = ("```json", "```Json", "```JSON", "```")
_FREE_TEXT = frozenset(
    {
        "combination:repeat_prompt",
        "combination:two_responses",
        "detectable_content:postscript",
        "detectable_format:multiple_sections",
        "detectable_format:number_bullet_lists",
        "detectable_format:number_highlighted_sections",
        "detectable_format:title",
        "length_constraints:nth_paragraph_first_word",
        "length_constraints:number_paragraphs",
        "startend:end_checker",
        "startend:quotation",
    }
)


def bullets(text: TextView) -> int:
    """How many bullet points a text has."""
    return marked_items(text.lines, "*") + _dashed_items(text.lines)


def _bullets(text: TextView, bound: Arguments) -> bool:
    return bullets(text) == int(bound["num_bullets"])


def marked_items(lines: tuple[str, ...], mark: str) -> int:
    """Lines that start with a mark (one character) which no second one follows.

    The character after the mark may be the line feed, so a lone mark takes the next line with it; as
    the last line it has no next character and does not count.
    """
    count = 0
    swallowed = False
    for index, line in enumerate(lines):
        if swallowed:
            swallowed = False
            continue
        start = line.lstrip()
        if not start.startswith(mark) or start.startswith(mark * 2):
            continue
        if start == mark:
            if index == len(lines) - 1:
                continue
            swallowed = True
        count += 1
    return count


def _dashed_items(lines: tuple[str, ...]) -> int:
    return sum(1 for line in lines if line.lstrip().startswith("-"))


def _constrained(text: TextView, _bound: Arguments) -> bool:
    return any(choice in text.text for choice in CHOICES)


def _highlights(text: TextView, bound: Arguments) -> bool:
    return highlights(text) >= int(bound["num_highlights"])


def highlights(text: TextView) -> int:
    """Single stars pair up within a line from the left; double stars are counted separately."""
    count = 0
    for line in text.lines:
        if "*" not in line:
            continue
        pieces = line.split("*")
        count += sum(1 for inside in pieces[1:-1:2] if inside.strip())
        count += sum(1 for inside in _DOUBLE_STARRED.findall(line) if inside.strip())
    return count


def _sections(text: TextView, bound: Arguments) -> bool:
    splitter = bound["section_spliter"].strip()
    if patterns.prepare(splitter).literal is not None:
        count = sum(1 for _ in _literal_section(splitter).finditer(text.text))
    else:
        pattern = patterns.prepare(rf"\s?{splitter}\s?\d+\s?")
        # The reference counts the pieces of re.split, which returns the groups of a splitter as pieces too.
        count = pattern.occurrences(text.text) * (1 + pattern.compiled.groups)
    return count >= int(bound["num_sections"])


def _literal_section(splitter: str) -> re.Pattern[str]:
    return patterns.prepare(rf"{re.escape(splitter)}\s?\d+").compiled


def _json(text: TextView, _bound: Arguments) -> bool:
    body = text.stripped
    for fence in _FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: TextView, _bound: Arguments) -> bool:
    return has_title(text.lines, "<<", ">>")


def has_title(lines: tuple[str, ...], opening: str, closing: str) -> bool:
    """Whether marks, each a repeated character, enclose more than white space and marks.

    Per line only the longest span counts, from the first opening to the last closing.
    """
    for line in lines:
        start, end = line.find(opening), line.rfind(closing)
        span = line[start : end + len(closing)]
        if 0 <= start < end - len(opening) and span.lstrip(opening[0]).rstrip(closing[0]).strip():
            return True
    return False


def _draw_bullets(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"num_bullets": rng.randint(2, 7)}


def _draw_highlights(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"num_highlights": rng.randint(1, 5)}


def _draw_sections(rng: Random, context: SamplingContext) -> dict[str, Any]:
    return {"section_spliter": rng.choice(context.bank.section_splitters), "num_sections": rng.randint(2, 5)}


NUMBER_BULLET_LISTS = register(
    Kind(
        "detectable_format:number_bullet_lists",
        _bullets,
        worded(
            "Your answer must contain exactly {num_bullets} bullet points, in markdown: * like this.",
            "Use exactly {num_bullets} bullet points, each on a line that starts with an asterisk and a space.",
            "Include a list of exactly {num_bullets} markdown bullets (* item).",
        ),
        (arguments.number("num_bullets"),),
        _draw_bullets,
    )
)

CONSTRAINED_RESPONSE = register(
    Kind(
        "detectable_format:constrained_response",
        _constrained,
        worded(
            "Answer with one of these sentences: My answer is yes. / My answer is no. / My answer is maybe.",
            'Choose one of: "My answer is yes.", "My answer is no.", "My answer is maybe."',
        ),
        conflicts=frozenset(
            {
                "detectable_format:json_format",
                "detectable_format:multiple_sections",
                "detectable_format:number_bullet_lists",
                "combination:two_responses",
                "length_constraints:number_paragraphs",
                "length_constraints:nth_paragraph_first_word",
                "length_constraints:number_sentences",
                "length_constraints:number_words",
                "language:response_language",
            }
        ),
    )
)

NUMBER_HIGHLIGHTED_SECTIONS = register(
    Kind(
        "detectable_format:number_highlighted_sections",
        _highlights,
        worded(
            "Highlight at least {num_highlights} passages with markdown, i.e. *highlighted passage*.",
            "At least {num_highlights} parts of your answer should be emphasized *like this*.",
            "Mark no fewer than {num_highlights} phrases with asterisks, such as *this phrase*.",
        ),
        (arguments.number("num_highlights"),),
        _draw_highlights,
    )
)

MULTIPLE_SECTIONS = register(
    Kind(
        "detectable_format:multiple_sections",
        _sections,
        worded(
            "Divide your response into {num_sections} sections. Head each with {section_spliter} and its number, "
            "such as {section_spliter} 1.",
            'Use at least {num_sections} sections, marked "{section_spliter} 1", "{section_spliter} 2" and so on.',
        ),
        (arguments.pattern("section_spliter"), arguments.number("num_sections")),
        _draw_sections,
        frozenset({"length_constraints:nth_paragraph_first_word"}),
    )
)

JSON_FORMAT = register(
    Kind(
        "detectable_format:json_format",
        _json,
        worded(
            "Give your entire output as JSON.",
            "The whole response must be valid JSON; a markdown code fence around it is fine.",
            "Answer in JSON format only.",
        ),
        conflicts=_FREE_TEXT | {"punctuation:no_comma", "detectable_format:constrained_response"},
    )
)

TITLE = register(
    Kind(
        "detectable_format:title",
        _title,
        worded(
            "Include a title wrapped in double angular brackets, such as <<a fitting title>>.",
            "Your answer must have a title inside double angle brackets, i.e. <<title>>.",
            "Start from a title in double angular brackets like <<this>>.",
        ),
    )
)
