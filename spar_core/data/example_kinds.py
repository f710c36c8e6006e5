"""Which skill a supervised example exercises, read off its text where the row does not say it.

The refiner's rows are known by what only a refiner writes: a rewritten answer between markers, or a verdict as the last
line. Both are known in this project's wording and in that of the SPaR release (`[[start]]` ... `[[end]]`, `Final
Judgement (if the Output accurately follows the Prompt): Yes`). Rows in another wording say their kind themselves.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

from spar_core.records import Message, Verdict
from spar_core.roles.rewrite import parse_rewrite
from spar_core.roles.verdict import parse_verdict

Kind = Literal["judgement", "refinement", "answer", "replay"]
_MARKED: Final = re.compile(r"\[\[\s?start\s?\]\].*\[\[\s?end\s?\]\]", re.IGNORECASE | re.DOTALL)
_LABELLED: Final = re.compile(
    r"^\W*(?:final|overall)\s+(?:verdict|judge?ment)\b[^:\n]{0,120}:\W*(?P<word>yes|no)\b\W*$", re.IGNORECASE
)
_LAST_LINES = 3  # a verdict ends its text; a label further up belongs to one requirement of the check


def kind_of(messages: Sequence[Message]) -> Kind:
    """The kind of a chat that ends with the assistant's turn.

    refinement: its last turn is a rewrite, or follows a judgement by the assistant within the chat; judgement: its last
    turn ends with a verdict; answer: neither.
    """
    said = [turn.content for turn in messages if turn.role == "assistant"]
    if is_rewrite(said[-1]) or any(verdict_of(text) is not None for text in said[:-1]):
        return "refinement"
    return "answer" if verdict_of(said[-1]) is None else "judgement"


def verdict_of(text: str) -> Verdict | None:
    """The verdict a text ends with, in this project's wording or the release's; None where it ends otherwise."""
    ending = [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]
    for line in reversed(ending):
        if found := _LABELLED.match(line):
            return Verdict(found["word"].upper())
    read = parse_verdict("\n".join(ending), "stop")
    return None if read is Verdict.UNPARSEABLE else read


def is_rewrite(text: str) -> bool:
    """Whether a text holds an answer between markers."""
    return _MARKED.search(text) is not None or parse_rewrite(text, "stop").failure is None
