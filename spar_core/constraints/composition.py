"""Kinds about what a response contains, how it starts and ends and how it is put together, with IFEval's rules."""

import re
from random import Random
from typing import Any

from spar_core.constraints import arguments, patterns
from spar_core.constraints.kind import Arguments, Kind, SamplingContext, worded
from spar_core.constraints.registry import register
from spar_core.constraints.text_view import TextView
from spar_core.constraints.vocabulary import POSTSCRIPT_MARKERS

_POSTSCRIPT_MARKS = {"P.P.S": re.compile(r"p\.\s?p\.\s?s"), "P.S.": re.compile(r"p\.\s?s\.")}
_RESPONSE_DIVIDER = "******"


def _placeholders(text: TextView, bound: Arguments) -> bool:
    return placeholders(text) >= int(bound["num_placeholders"])


def placeholders(text: TextView) -> int:
    """How many spans in square brackets a text has."""
    return sum(_bracket_pairs(line) for line in text.lines)


def _bracket_pairs(line: str) -> int:
    """Shortest [ ... ] spans of one line, from the left."""
    count = 0
    start = line.find("[")
    while start >= 0 and (end := line.find("]", start + 1)) >= 0:
        count += 1
        start = line.find("[", end + 1)
    return count


def _postscript(text: TextView, bound: Arguments) -> bool:
    marker = bound["postscript_marker"].strip()
    known = _POSTSCRIPT_MARKS.get(marker)
    if known is not None:
        return known.search(text.lowered) is not None
    bare = patterns.prepare(marker.lower())
    if bare.literal is not None:
        return bare.literal in text.lowered
    return patterns.prepare(rf"\s*{marker.lower()}.*$", re.MULTILINE).found(text.lowered)


def _two_responses(text: TextView, _bound: Arguments) -> bool:
    parts = text.text.split(_RESPONSE_DIVIDER)
    answers = [part.strip() for part in parts]
    if any(not answer for answer in answers[1:-1]):
        return False
    filled = [answer for answer in answers if answer]
    return len(filled) == 2 and filled[0] != filled[1]


def _repeat_prompt(text: TextView, bound: Arguments) -> bool:
    return text.stripped.lower().startswith(bound["prompt_to_repeat"].strip().lower())


def _end_phrase(text: TextView, bound: Arguments) -> bool:
    return text.stripped.strip('"').lower().endswith(bound["end_phrase"].strip().lower())


def _quotation(text: TextView, _bound: Arguments) -> bool:
    whole = text.stripped
    return len(whole) > 1 and whole[0] == '"' and whole[-1] == '"'


def _draw_placeholders(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"num_placeholders": rng.randint(1, 6)}


def _draw_postscript(rng: Random, _context: SamplingContext) -> dict[str, Any]:
    return {"postscript_marker": rng.choice(POSTSCRIPT_MARKERS)}


def _draw_repeat(_rng: Random, context: SamplingContext) -> dict[str, Any]:
    return {"prompt_to_repeat": context.instruction or "Answer the request above."}


def _draw_end(rng: Random, context: SamplingContext) -> dict[str, Any]:
    return {"end_phrase": rng.choice(context.bank.end_phrases)}


NUMBER_PLACEHOLDERS = register(
    Kind(
        "detectable_content:number_placeholders",
        _placeholders,
        worded(
            "Include at least {num_placeholders} placeholders in square brackets, such as [address].",
            "Leave no fewer than {num_placeholders} blanks to fill in, written like [name].",
            "The response must contain at least {num_placeholders} placeholders, for example [date].",
        ),
        (arguments.number("num_placeholders"),),
        _draw_placeholders,
    )
)

POSTSCRIPT = register(
    Kind(
        "detectable_content:postscript",
        _postscript,
        worded(
            "At the end, add a postscript that starts with {postscript_marker}",
            "Finish with a postscript beginning with {postscript_marker}",
            "Your answer should have a postscript, introduced by {postscript_marker}",
        ),
        (arguments.pattern("postscript_marker"),),
        _draw_postscript,
    )
)

TWO_RESPONSES = register(
    Kind(
        "combination:two_responses",
        _two_responses,
        worded(
            "Give two different responses, separated by six asterisks: ******",
            "Answer twice, in two different ways. Put ****** between the two answers and nowhere else.",
        ),
        conflicts=frozenset({"startend:quotation", "combination:repeat_prompt", "detectable_format:multiple_sections"}),
    )
)

REPEAT_PROMPT = register(
    Kind(
        "combination:repeat_prompt",
        _repeat_prompt,
        worded(
            "First repeat this request word for word, then give your answer: {prompt_to_repeat}",
            'Start your response by copying the following text without any change: "{prompt_to_repeat}"',
        ),
        (arguments.text("prompt_to_repeat"),),
        _draw_repeat,
        frozenset({"startend:quotation", "length_constraints:number_paragraphs"}),
    )
)

END_CHECKER = register(
    Kind(
        "startend:end_checker",
        _end_phrase,
        worded(
            'End your response with this exact phrase: "{end_phrase}" Nothing may follow it.',
            'The very last words of your answer must be: "{end_phrase}"',
            'Finish with exactly these words: "{end_phrase}"',
        ),
        (arguments.text("end_phrase"),),
        _draw_end,
    )
)

QUOTATION = register(
    Kind(
        "startend:quotation",
        _quotation,
        worded(
            "Wrap your entire response in double quotation marks.",
            "Put double quotation marks around your whole answer.",
            'Your response should begin and end with a double quote (").',
        ),
    )
)
