"""The form of a rewrite: `<reflection>` then the answer between two markers. Read and written here alone.

Which markers they are, the prompt set's format says (`spar_core.prompts.format`).
Not every pair of markers holds an answer. Refiners repeat the request ("I write it between <revised_answer> and
</revised_answer>.") and the words that stand between the markers there: such an echo is never taken for an answer.
"""

import re
from collections.abc import Collection
from functools import cache
from typing import NamedTuple

from spar_core.prompts.format import Markers
from spar_core.records import FinishReason

TRUNCATED = "truncated"
NO_ANSWER = "no_answer"
EMPTY_ANSWER = "empty_answer"
FAILURES = frozenset({TRUNCATED, NO_ANSWER, EMPTY_ANSWER})
"""What a text can be lacking; a refused request has the engine's own reason instead."""

_SHIPPED = Markers()
_MARKUP_LINE = re.compile(r"(?:^|\n)[ \t#*`_>]+\Z")
_MARKUP = " \t*_`#>\"'"
_BRACKETS = "[](){}<>"
# What stands between two markers that a sentence names, in the languages of the prompts this was seen with.
_CONNECTORS = frozenset(
    {"and", "or", "to", "till", "until", "&", "/", ",", "-", "und", "et", "y", "e", "和", "与", "到"}
)
_ECHOED = 6  # words of a request in a row that no answer of its own begins with
_FILLED_IN = re.compile(r"\{\{\w+\}\}")
_SENTENCE_END = re.compile(r"[.!?:]\s|\n")
_ELLIPSES = frozenset({"...", "…"})


class ParsedRewrite(NamedTuple):
    """What stands in a refiner's text. `failure` is a slug: no_answer, empty_answer or truncated; None = usable."""

    response: str
    reflection: str
    failure: str | None


class _Patterns(NamedTuple):
    start: re.Pattern[str]
    end: re.Pattern[str]


def parse_rewrite(
    text: str, finish_reason: FinishReason, placeholders: Collection[str] = (), markers: Markers | None = _SHIPPED
) -> ParsedRewrite:
    """Answer between the last pair of markers that is no echo; what stands before it is the reflection.

    A start marker that no end marker follows is an answer begun anew and not finished, whatever stood before it: the
    rewrite is truncated, as with finish reason `length`. Its text is kept (the published method uses it) and `failure`
    says so.

    Args:
        text: the whole text of the refiner.
        finish_reason: `length` = the text was cut.
        placeholders: what stands between the markers in the request (`placeholders_of`): never an answer.
        markers: those the prompt set asks for; None: the whole text is the answer, unless it repeats the request or
            holds a sentence of the prompt set's, which `placeholders` then are.
    """
    if markers is None:
        return _whole(text.strip(), finish_reason, placeholders)
    found = _last_pair(text, {entry.casefold() for entry in placeholders} | _ELLIPSES, _patterns(markers))
    if found is None:
        return ParsedRewrite("", text.strip(), TRUNCATED if finish_reason == "length" else NO_ANSWER)
    start, end = found
    response = (text[start.end() : end.start()] if end else text[start.end() :]).strip()
    reflection = _MARKUP_LINE.sub("", text[: start.start()]).strip()
    if end is None or finish_reason == "length":
        return ParsedRewrite(response, reflection, TRUNCATED)
    return ParsedRewrite(response, reflection, None if response else EMPTY_ANSWER)


def placeholders_of(request: str, markers: Markers | None = _SHIPPED) -> frozenset[str]:
    """What a prompt text puts between the markers to show where the answer goes; without markers its own sentences."""
    if markers is None:
        sentences = _SENTENCE_END.split(_FILLED_IN.sub("\n", request))
        return frozenset(found for sentence in sentences if (found := sentence.strip()))
    pairs = _pairs(request, _patterns(markers))
    return frozenset(_bare(request[start.end() : end.start()]) for start, end in pairs) - {""}


def format_rewrite(response: str, reflection: str = "", markers: Markers | None = _SHIPPED) -> str:
    """The text `parse_rewrite` reads back as (response, reflection): what the refiner is trained to write.

    Without markers it is the response alone: what stood before it would be taken for a part of it.
    """
    if markers is None:
        return response
    answer = f"{markers.start}\n{response}\n{markers.end}"
    return f"{reflection}\n\n{answer}" if reflection else answer


def _whole(text: str, finish_reason: FinishReason, requests: Collection[str]) -> ParsedRewrite:
    if any(_repeats(text, request) for request in requests):
        return ParsedRewrite("", text, NO_ANSWER)
    if finish_reason == "length":
        return ParsedRewrite(text, "", TRUNCATED)
    return ParsedRewrite(text, "", None if text else EMPTY_ANSWER)


def _repeats(text: str, request: str) -> bool:
    """Whether a reply is a part of a request, begins as that does or holds it: told by `_ECHOED` words or more."""
    said, asked = (" ".join(re.findall(r"\w+", part.casefold())) for part in (text, request))
    words = asked.split()
    if len(words) < _ECHOED or len(said.split()) < _ECHOED:
        return False
    return said in asked or asked in said or said.startswith(" ".join(words[:_ECHOED]))


_Pair = tuple[re.Match[str], re.Match[str]]


def _last_pair(
    text: str, placeholders: Collection[str], patterns: _Patterns
) -> tuple[re.Match[str], re.Match[str] | None] | None:
    """The last pair that is no echo, or the last start marker without an end where that comes later; else None."""
    pairs = _pairs(text, patterns)
    closed = {start.start() for start, _ in pairs}
    answers = [pair for pair in pairs if not _is_echo(text, pair, placeholders)]
    # A start inside a sentence ("I write <revised_answer> first.") is followed by the pair it announces.
    last_start = max((start.start() for start, _ in answers), default=-1)
    unfinished = [start for start in patterns.start.finditer(text) if start.start() not in closed]
    if unfinished and unfinished[-1].start() > last_start:
        return unfinished[-1], None
    return answers[-1] if answers else None


def _pairs(text: str, patterns: _Patterns) -> list[_Pair]:
    """Each end marker that closes a start marker, with the nearest start before it."""
    pairs: list[_Pair] = []
    starts, ends = list(patterns.start.finditer(text)), list(patterns.end.finditer(text))
    for index, start in enumerate(starts):
        limit = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        end = next((end for end in ends if start.end() <= end.start() < limit), None)
        if end is not None:
            pairs.append((start, end))
    return pairs


def _is_echo(text: str, pair: _Pair, placeholders: Collection[str]) -> bool:
    """Whether a pair repeats the request: its placeholder, or both markers named within one sentence."""
    start, end = pair
    content = text[start.end() : end.start()]
    if _bare(content).casefold() in placeholders:
        return True
    if "\n" in content:
        return False
    if content.strip(_MARKUP).casefold() in _CONNECTORS:
        return True
    before = text[: start.start()].rpartition("\n")[2]
    after = text[end.end() :].partition("\n")[0]
    return any(map(str.isalnum, before)) and bool(after.strip(_MARKUP))


def _bare(content: str) -> str:
    return content.strip().strip(_MARKUP + _BRACKETS)


@cache
def _patterns(markers: Markers) -> _Patterns:
    return _Patterns(_pattern(markers.start), _pattern(markers.end))


def _pattern(marker: str) -> re.Pattern[str]:
    """The marker in any case, with a space beside its signs or in place of an underscore."""
    pieces = re.findall(r"[^\W_]+|_+|[^\w\s]|\s+", marker)
    name = ""
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        joint = piece.isspace() or "_" in piece
        name += "[_ ]" * len(piece) if joint else re.escape(piece)
        if following and not joint and not following.isspace() and "_" not in following:
            name += r"\s?"
    # Emphasis or backticks count as part of a marker only when they stand on both sides of it.
    return re.compile(rf"(?P<markup>\*\*|__|`+|\*)\s?{name}\s?(?P=markup)|{name}", re.IGNORECASE)
