"""The chats the roles are asked with. Inference and training data both take them from here.

Requests have no system turn, unless an evaluation asks for one: a chat template without that role can render them. All
are a single user turn, but for rewrites under a prompt set whose format says `refine: continuation`: these go on from
the judge's chat, so that the refiner reads its critique as a turn of its own, and prompt, response and critique are a
prefix that a server can share.
"""

from typing import Final

from spar_core.errors import ConfigError
from spar_core.prompts.library import ON_CONSTRAINTS, PromptLibrary
from spar_core.records import Message
from spar_core.roles.verdict import without_verdict

JUDGE = "judge"
REFINE = "refine"
RUBRIC = "rubric"
META_JUDGE = "meta_judge"
TASK: Final = "Carry out the task itself."
"""What stands for the task among the constraints of a prompt (`judge: per_constraint`)."""


def answer_messages(prompt_text: str, system: str = "") -> tuple[Message, ...]:
    """What the actor is asked; `system`: a text ahead of it, for evaluations alone."""
    asked = Message("user", prompt_text)
    return (Message("system", system), asked) if system else (asked,)


def judge_messages(
    library: PromptLibrary, prompt_text: str, response_text: str, wording: str = JUDGE
) -> tuple[Message, ...]:
    """What the refiner is asked for one vote; training data takes the first wording."""
    return (Message("user", library.fill(wording, prompt=prompt_text, response=response_text)),)


def constraint_messages(
    library: PromptLibrary, prompt_text: str, response_text: str, constraint: str
) -> tuple[Message, ...]:
    """What the refiner is asked for one vote on one constraint, in words; or on the task, for `TASK`."""
    asked, values = ON_CONSTRAINTS[0], {"prompt": prompt_text, "response": response_text}
    if constraint != TASK:
        asked, values = ON_CONSTRAINTS[1], {**values, "constraint": constraint}
    return (Message("user", library.fill(asked, **values)),)


def judge_wordings(library: PromptLibrary, count: int) -> tuple[str, ...]:
    """Names of the first `count` wordings of the judge prompt.

    Raises:
        ConfigError: the prompt set has fewer, or asks per constraint, in one wording.
    """
    if count > 1 and library.format.judge == "per_constraint":
        raise ConfigError(
            f"judging.wordings is {count}, but prompt set {library.name!r} asks about each constraint on its own, in "
            "one wording: set judging.wordings=1, or take a prompt set with `judge: whole`"
        )
    found = library.wordings(JUDGE)
    if len(found) < count:
        raise ConfigError(
            f"judging.wordings is {count}, but prompt set {library.name!r} words its judge prompt {len(found)} times; "
            f"add {JUDGE}_{len(found) + 1}.txt to a prompt set of your own, or lower judging.wordings"
        )
    return found[:count]


def refine_messages(library: PromptLibrary, prompt_text: str, response_text: str, critique: str) -> tuple[Message, ...]:
    """What the refiner is asked for one rewrite; how the prompt set's format lays it out."""
    values = {"prompt": prompt_text, "response": response_text, "critique": critique}
    if library.format.refine == "request":
        return (Message("user", library.fill(REFINE, **values)),)
    if library.format.refine == "chat":
        values["critique"] = without_verdict(critique, library.format.verdict)
    asked_for = {name: values[name] for name in library.placeholders(REFINE)}
    if library.format.refine == "chat":
        answered = (*answer_messages(prompt_text), Message("assistant", response_text))
        return (*answered, Message("user", library.fill(REFINE, **asked_for)))
    judged = judge_messages(library, prompt_text, response_text)
    return (*judged, Message("assistant", critique), Message("user", library.fill(REFINE, **asked_for)))


def rubric_messages(library: PromptLibrary, prompt_text: str, response_text: str) -> tuple[Message, ...]:
    """What the scorer is asked for one score."""
    return (Message("user", library.fill(RUBRIC, prompt=prompt_text, response=response_text)),)


def meta_judge_messages(
    library: PromptLibrary, prompt_text: str, response_text: str, first: str, second: str
) -> tuple[Message, ...]:
    """What the scorer is asked for one comparison of two rubric judgements of a response."""
    filled = library.fill(META_JUDGE, prompt=prompt_text, response=response_text, first=first, second=second)
    return (Message("user", filled),)
