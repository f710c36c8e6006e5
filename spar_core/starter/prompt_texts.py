"""The starter's prompt set, which the roles use too, and the lines its tokenizer knows whole."""

from functools import cache

from spar_core.prompts.library import PromptLibrary
from spar_core.roles.requests import judge_messages, meta_judge_messages, refine_messages, rubric_messages

PROMPT_SET = "starter"


@cache
def library() -> PromptLibrary:
    """The starter's prompt set."""
    return PromptLibrary.load(PROMPT_SET)


def fixed_lines() -> tuple[str, ...]:
    """The lines of all requests that stand between their placeholders."""
    requests = (
        judge_messages(library(), "\n", "\n"),
        refine_messages(library(), "\n", "\n", "\n"),
        rubric_messages(library(), "\n", "\n"),
        meta_judge_messages(library(), "\n", "\n", "\n", "\n"),
    )
    bare = "\n".join(turn.content for request in requests for turn in request)
    return tuple(line.strip() for line in bare.split("\n") if line.strip())
