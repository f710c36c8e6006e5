"""Telling what a reasoning model thought from what it answered: the one place where its texts are taken apart.

Three layouts occur. The model opens and closes its thought itself ("<think>..</think>answer"); its chat template
opens it at the end of the prompt, so that only the closing tag is written; or a server has taken the text apart already
and sends the thought in a field of its own, which needs nothing here.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Reading = Literal["auto", "opened", "none"]


class Tags(NamedTuple):
    """What stands before and behind a thought."""

    opening: str
    closing: str


KNOWN_TAGS: Final = (
    Tags(
        "<think>", "</think>"
    ),  # Qwen3, DeepSeek-R1 and its distillations, GLM-4.5 and later, SmolLM3, and most others
    Tags("[THINK]", "[/THINK]"),  # Magistral
    Tags("<|channel>thought", "<channel|>"),  # Gemma 4
    Tags("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    Tags("<seed:think>", "</seed:think>"),  # Seed-OSS
    Tags("<mm:think>", "</mm:think>"),  # MiniMax M3
    Tags("<thought>", "</thought>"),  # EXAONE Deep; Gemini
)
_LINE_END = re.compile(r"[ \t]*(?:\r?\n|\Z)")


class Split(NamedTuple):
    """A text taken apart. `text` is empty where the thought was cut, or never ended."""

    thought: str
    text: str


class ThoughtRules(NamedTuple):
    """How a model's texts are taken apart.

    Fields:
        reading: "opened" where the prompt ends in an opening tag, "none" where all is answer; "auto" goes by the text.
        tags: the pairs that may stand there.
    """

    reading: Reading = "auto"
    tags: Sequence[Tags] = KNOWN_TAGS

    def split(self, raw: str) -> Split:
        """Thought and answer. Several thoughts before the answer are joined by an empty line.

        By "auto" a thought is what stands between tags at the very beginning; a tag in the middle of an answer is the
        answer's own. A closing tag without an opening one closes a thought that the server's template opened, if it
        ends its line.

        The answer loses the newlines it begins with, and the space that some tokenizers put before the first word: what
        a chat template writes between its last tag and the answer is no part of the answer.
        """
        if self.reading == "none":
            return Split("", bare(raw))
        thoughts, rest = self._opened(raw)
        while pair := next((pair for pair in self.tags if rest.lstrip().startswith(pair.opening)), None):
            inner, _, rest = rest.lstrip().removeprefix(pair.opening).partition(pair.closing)
            thoughts.append(inner)
        if not thoughts:
            return Split("", bare(raw))
        return Split("\n\n".join(filter(None, map(str.strip, thoughts))), rest.lstrip())

    def _opened(self, raw: str) -> tuple[list[str], str]:
        """The thought that the prompt opened, if any, and what follows it."""
        closings = [(place, pair) for pair in self.tags if (place := raw.find(pair.closing)) >= 0]
        if self.reading == "auto":
            closings = [found for found in closings if _stands_alone(raw, *found)]
            if not closings:
                return [], raw
        place, pair = min(closings, default=(len(raw), self.tags[0]))
        inner = raw[:place].lstrip()
        for repeated in self.tags:  # by a model that opens again what is open
            inner = inner.removeprefix(repeated.opening)
        return [inner], raw[place + len(pair.closing) :]


def bare(raw: str) -> str:
    """A text without the newlines and the one space before its first word."""
    return raw.lstrip("\r\n").removeprefix(" ")


def opened_by(prompt: str, tags: Sequence[Tags] = KNOWN_TAGS) -> Tags | None:
    """The tags of the thought that a rendered prompt ends in the middle of."""
    return next((pair for pair in tags if prompt.rstrip().endswith(pair.opening)), None)


def _stands_alone(raw: str, place: int, pair: Tags) -> bool:
    """Whether a closing tag ends its line and nothing before it opens a thought."""
    return pair.opening not in raw[:place] and _LINE_END.match(raw, place + len(pair.closing)) is not None
