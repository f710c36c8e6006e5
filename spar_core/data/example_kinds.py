"""Which skill a supervised example exercises, read off its text where the row does not say it.

The refiner's rows are known by what only a refiner writes: a rewritten answer between markers, or a verdict as the last
line. Which markers and verdicts there are, the formats of prompt sets say (`spar_core.prompts.format`): those of the
shipped ones, the published among them, and that of the user's own. Rows in another form say their kind themselves.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from spar_core.prompts import PromptFormat, PromptLibrary, shipped_prompt_sets
from spar_core.records import Message, Verdict
from spar_core.roles.rewrite import parse_rewrite
from spar_core.roles.verdict import parse_verdict

Kind = Literal["judgement", "refinement", "answer", "replay"]
Formats: TypeAlias = tuple[PromptFormat, ...]
_LAST_LINES: Final = 3  # a verdict ends its text; a label further up belongs to one requirement of the check


def known_formats(prompt_set: str | None = None) -> Formats:
    """The formats of all shipped prompt sets, and of one more.

    Raises:
        ConfigError: there is no such prompt set.
    """
    found = [
        PromptLibrary.load(name).format for name in (*([prompt_set] if prompt_set else []), *shipped_prompt_sets())
    ]
    return tuple(form for place, form in enumerate(found) if form not in found[:place])


def kind_of(messages: Sequence[Message], formats: Formats) -> Kind:
    """The kind of a chat that ends with the assistant's turn.

    refinement: its last turn is a rewrite, or follows a judgement by the assistant within the chat; judgement: its last
    turn ends with a verdict; answer: neither.
    """
    said = [turn.content for turn in messages if turn.role == "assistant"]
    if is_rewrite(said[-1], formats) or any(verdict_of(text, formats) is not None for text in said[:-1]):
        return "refinement"
    return "answer" if verdict_of(said[-1], formats) is None else "judgement"


def verdict_of(text: str, formats: Formats) -> Verdict | None:
    """The verdict a text ends with in one of these formats; None where it ends otherwise."""
    ending = "\n".join([line for line in text.splitlines() if line.strip()][-_LAST_LINES:])
    read = (parse_verdict(ending, "stop", form.verdict) for form in formats)
    return next((verdict for verdict in read if verdict is not Verdict.UNPARSEABLE), None)


def is_rewrite(text: str, formats: Formats) -> bool:
    """Whether a text holds an answer between markers of one of these formats."""
    marked = (form.markers for form in formats if form.markers is not None)
    return any(parse_rewrite(text, "stop", (), markers).failure is None for markers in marked)
