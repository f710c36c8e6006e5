"""A scripted model for the benchmarks: every answer known, so that every score can be derived by hand."""

from spar_core.engines.base import Completion, GenerationRequest
from spar_core.errors import RequestRejectedError
from spar_core.roles import format_rewrite
from spar_core.starter.answers import render, right_plan
from spar_core.starter.world import generate_prompts

HELD_OUT = {prompt.text: prompt for prompt in generate_prompts(4, 20_000, "test")}


def answer(request: GenerationRequest, index: int) -> str | Completion | Exception:
    text = request.messages[-1].content
    if text.startswith("Mend"):
        # Only the second and third of a node's rewrites are right.
        prompt = next(prompt for known, prompt in HELD_OUT.items() if known in text)
        return format_rewrite("wrong" if index == 0 else render(right_plan(prompt)))
    if text.startswith("Check"):
        bad = "second of" in text or "\nwrong" in text or "\nhello" in text
        return f"Seen.\nFinal verdict: {'NO' if bad else 'YES'}"
    if "TOO LONG" in text:
        return RequestRejectedError("the prompt has too many tokens", reason="prompt_too_long")
    if "# Output (a)" in text:
        return "Output (a)"
    if "answer to the second" in text:
        return "YES"
    if text.startswith("content 1 wish"):
        return "exact"
    if text.startswith("content 2 wish"):
        return "answer to the second"
    if text == "Say hi" and request.sampling.max_tokens == 2:
        return Completion("hello", "length", 2)
    return "a, b" if text == "Say long" else "hello"
