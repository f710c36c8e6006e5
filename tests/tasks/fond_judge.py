"""Two scripted refiners. What they write says who wrote it; the later one's votes are fonder of its own texts."""

import re
from collections.abc import Mapping

from spar_core.engines.base import GenerationRequest
from spar_core.roles import format_rewrite

YES_VOTES: Mapping[str, int] = {
    "bad, of course": 0,
    "fine": 5,
    "first wrong, still": 1,
    "second wrong, still": 2,
    "first right": 4,
    "second right": 5,
}
"""Approving votes of five, by the text that is judged."""


def first(request: GenerationRequest, index: int) -> str:
    return _answer(request, index, "first")


def second(request: GenerationRequest, index: int) -> str:
    return _answer(request, index, "second")


def blind(request: GenerationRequest, index: int) -> str:
    """Rewrites as `first` does, and calls everything wrong."""
    said = first(request, index)
    return said if "Final verdict" not in said else "Seen.\nFinal verdict: NO"


def _answer(request: GenerationRequest, index: int, who: str) -> str:
    text = request.messages[-1].content
    (number,) = re.findall(r"Say (\d+)", text)
    if "was checked" in text:
        return format_rewrite(f"{who} right" if int(number) % 2 else f"{who} wrong, still")
    (judged,) = re.findall(r"<response>\n(.*)\n</response>", text)
    return f"Seen.\nFinal verdict: {'YES' if index < YES_VOTES[judged] else 'NO'}"
