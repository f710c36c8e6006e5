"""The form of a prompt set's requests and answers (`format.yaml`): what a vote is asked, how it ends, what a rewrite
stands between, who says what.

verdict:
  labels: ["Final Judgement (if the Output accurately follows the Prompt)"]
  yes: [Yes]
  no: [No]
markers: {start: "[[start]]", end: "[[end]]"}
refine: continuation
judge: whole
"""

import re
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from spar_core.config.base import FrozenConfig
from spar_core.errors import ConfigError

FILE = "format.yaml"
Words = Annotated[tuple[str, ...], Field(min_length=1)]

_WORD = re.compile(r"\w+(?:[ '\-]\w+)*")
_COLON = " \t:\uff1a"


class VerdictForm(FrozenConfig):
    """The last line of a vote: a label, a colon, a word."""

    labels: Words = ("Final verdict",)
    """What the line begins with, without its colon. All are read, beside "verdict" and "judgement" in their usual
    forms; the first stands in verdicts that no model wrote."""
    yes: Words = ("YES",)
    """Words that say every requirement is met; case does not matter."""
    no: Words = ("NO",)
    """Words that say at least one requirement is not met."""

    @field_validator("labels")
    @classmethod
    def _labels_hold_words(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        bare = tuple(label.strip(_COLON) for label in labels)
        if bad := [label for label in bare if "\n" in label or not re.search(r"[^\W_]", label)]:
            raise ValueError(f"the label {bad[0]!r} must be one line with a word in it")
        return bare

    @field_validator("yes", "no")
    @classmethod
    def _words_are_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [word for word in words if not _WORD.fullmatch(word)]:
            raise ValueError(f"{bad[0]!r} must be words alone: markup and brackets around them do not matter")
        return words

    @model_validator(mode="after")
    def _words_differ(self) -> Self:
        if both := {word.casefold() for word in self.yes} & {word.casefold() for word in self.no}:
            raise ValueError(f"{min(both)!r} stands under yes and under no; a word can say one of them")
        return self

    def line(self, *, passes: bool) -> str:
        """The verdict line, as a model would write it."""
        return f"{self.labels[0]}: {(self.yes if passes else self.no)[0]}"


class Markers(FrozenConfig):
    """What the text of a rewrite stands between."""

    start: str = "<revised_answer>"
    """Before the text."""
    end: str = "</revised_answer>"
    """After it."""

    @field_validator("start", "end")
    @classmethod
    def _stands_out(cls, marker: str) -> str:
        bare = re.sub(r"[ \t]+", " ", marker.strip())
        if "\n" in bare or not re.search(r"[^\W_]", bare) or not re.search(r"[^\w\s]", bare):
            raise ValueError(
                f"{marker!r} must be one line that no answer holds by chance: letters and a sign, such as [[start]]"
            )
        return bare

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        start, end = self.start.casefold(), self.end.casefold()
        if start in end or end in start:
            raise ValueError(f"{self.start!r} and {self.end!r} must not contain one another")
        return self


class PromptFormat(FrozenConfig):
    """What a prompt set asks its models to write, and how a rewrite is asked for."""

    verdict: VerdictForm = VerdictForm()
    """How votes end."""
    markers: Markers | None = Markers()
    """What rewrites stand between; `none`: the whole reply is the new answer, for models that keep no markers."""
    refine: Literal["request", "continuation", "chat"] = "request"
    """request: refine.txt states prompt, response and critique in a request of its own. continuation: it is the third
    turn of a chat, after the judge's request and the critique as the refiner's own answer (published); then it needs
    no placeholder. chat: it is what the user says next to prompt and response, as in any chat; the critique goes
    without its verdict line, and is all it needs."""

    @field_validator("markers", mode="before")
    @classmethod
    def _none_is_a_word(cls, value: object) -> object:
        return None if value == "none" else value

    judge: Literal["whole", "per_constraint"] = "whole"
    """whole: a vote is one check of the whole request. per_constraint: where a prompt lists its constraints, the task
    and each of them are asked about on their own, and a vote says YES where all are met."""

    @model_validator(mode="after")
    def _one_chat_holds_one_check(self) -> Self:
        if self.judge == "per_constraint" and self.refine == "continuation":
            raise ValueError(
                "refine `continuation` goes on from the judge's chat, and under judge `per_constraint` each constraint "
                "has one; set refine to request or chat, or judge to whole"
            )
        return self

    def read_by(self, template_name: str) -> dict[str, object]:
        """What of it decides how answers to a template are asked for and read, where it is not as by default."""
        names = {"judge": ("verdict", "judge"), "refine": ("markers", "refine")}.get(template_name, ())
        return self.model_dump(include=set(names), exclude_defaults=True)


def read_format(entry: Traversable) -> PromptFormat:
    """The format a set's file states; as by default where there is no file.

    Raises:
        ConfigError: unreadable, no YAML, an unknown key or a value that cannot be; names the file and the key.
    """
    if not entry.is_file():
        return PromptFormat()
    try:
        # Text alone: to YAML proper the keys `yes` and `no` would be truth values.
        values = yaml.load(entry.read_text("utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{entry}: cannot be read as YAML ({error})") from error
    try:
        return PromptFormat.model_validate(values or {})
    except ValidationError as error:
        raise ConfigError(f"{entry}: " + "; ".join(map(_problem, error.errors()))) from error


def _problem(found: object) -> str:
    problem = dict(found)  # type: ignore[call-overload]
    key = ".".join(map(str, problem["loc"])) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}; known are verdict (labels, yes, no), markers (start, end), refine, judge"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}"
    return f"{key}: {problem['msg']}"
