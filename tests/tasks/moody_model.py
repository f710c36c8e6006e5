"""A scripted model that goes down when told to, and remembers what it was asked."""

from spar_core.engines.base import GenerationRequest
from spar_core.errors import EngineUnavailableError

asked: list[str] = []
goes_down_after: list[int] = []
"""Requests until it goes down; empty: never."""


def answer(request: GenerationRequest, index: int) -> str | Exception:
    prompt = request.messages[-1].content
    asked.append(prompt)
    if goes_down_after and len(asked) > goes_down_after[0]:
        return EngineUnavailableError("the server went down")
    return f"answer to {prompt}"
