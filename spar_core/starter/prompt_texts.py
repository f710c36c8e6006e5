"""The starter's requests, filled from the prompt set that the roles use too."""

from functools import cache

from spar_core.prompts.library import PromptLibrary

PROMPT_SET = "starter"


@cache
def library() -> PromptLibrary:
    """The starter's prompt set."""
    return PromptLibrary.load(PROMPT_SET)


def judge_request(prompt: str, response: str) -> str:
    """What the refiner is asked for one vote."""
    return library().fill("judge", prompt=prompt, response=response)


def refine_request(prompt: str, response: str, critique: str) -> str:
    """What the refiner is asked for one rewrite."""
    return library().fill("refine", prompt=prompt, response=response, critique=critique)


def rubric_request(prompt: str, response: str) -> str:
    """What a judge is asked for one additive score."""
    return library().fill("rubric", prompt=prompt, response=response)


def meta_judge_request(prompt: str, response: str, first: str, second: str) -> str:
    """What a judge of judgements is asked."""
    return library().fill("meta_judge", prompt=prompt, response=response, first=first, second=second)


def fixed_lines() -> tuple[str, ...]:
    """The lines of all requests that stand between their placeholders."""
    bare = "\n".join(
        (
            judge_request("\n", "\n"),
            refine_request("\n", "\n", "\n"),
            rubric_request("\n", "\n"),
            meta_judge_request("\n", "\n", "\n", "\n"),
        )
    )
    return tuple(line.strip() for line in bare.split("\n") if line.strip())
