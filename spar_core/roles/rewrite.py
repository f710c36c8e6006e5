"""The form of a rewrite: `<reflection>` then the answer between two markers. Read and written here alone."""

import re
from typing import NamedTuple

from spar_core.records import FinishReason

START_MARKER = "<revised_answer>"
END_MARKER = "</revised_answer>"
TRUNCATED = "truncated"
NO_ANSWER = "no_answer"
EMPTY_ANSWER = "empty_answer"

_NAME = r"revised[_ ]answer"
# Emphasis or backticks count as part of a marker only when they stand on both sides of it.
_START = re.compile(rf"(?P<markup>\*\*|__|`+|\*)\s?<\s?{_NAME}\s?>\s?(?P=markup)|<\s?{_NAME}\s?>", re.IGNORECASE)
_END = re.compile(rf"(?P<markup>\*\*|__|`+|\*)\s?<\s?/\s?{_NAME}\s?>\s?(?P=markup)|<\s?/\s?{_NAME}\s?>", re.IGNORECASE)
_MARKUP_LINE = re.compile(r"(?:^|\n)[ \t#*`_>]+\Z")


class ParsedRewrite(NamedTuple):
    """What stands in a refiner's text. `failure` is a slug: no_answer, empty_answer or truncated; None = usable."""

    response: str
    reflection: str
    failure: str | None


def parse_rewrite(text: str, finish_reason: FinishReason) -> ParsedRewrite:
    """Answer between the last well-formed pair of markers; what stands before it is the reflection.

    Without an end marker after any start marker, or with finish reason `length`, the rewrite is truncated:
    its text is kept (the published method uses it) and `failure` says so.
    """
    pair = _last_pair(text)
    if pair is None:
        return ParsedRewrite("", text.strip(), TRUNCATED if finish_reason == "length" else NO_ANSWER)
    start, end = pair
    response = (text[start.end() : end.start()] if end else text[start.end() :]).strip()
    reflection = _MARKUP_LINE.sub("", text[: start.start()]).strip()
    if end is None or finish_reason == "length":
        return ParsedRewrite(response, reflection, TRUNCATED)
    return ParsedRewrite(response, reflection, None if response else EMPTY_ANSWER)


def format_rewrite(response: str, reflection: str = "") -> str:
    """The text `parse_rewrite` reads back as (response, reflection): what the refiner is trained to write."""
    answer = f"{START_MARKER}\n{response}\n{END_MARKER}"
    return f"{reflection}\n\n{answer}" if reflection else answer


def _last_pair(text: str) -> tuple[re.Match[str], re.Match[str] | None] | None:
    """Last start marker that an end marker follows; else the last start marker alone; else None."""
    starts, ends = list(_START.finditer(text)), list(_END.finditer(text))
    for end in reversed(ends):
        before = [start for start in starts if start.end() <= end.start()]
        if before:
            return before[-1], end
    return (starts[-1], None) if starts else None
