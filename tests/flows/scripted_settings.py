"""A scripted model whose answers depend on how they are asked for."""

from spar_core.engines.base import Completion, GenerationRequest
from tests.flows import scripted_benchmark


def answer(request: GenerationRequest, index: int) -> str | Completion | Exception:
    """`Say hi`: every second sample is in quotation marks, and all are under a system text that asks for it."""
    text = request.messages[-1].content
    if text == "Say hi" and request.sampling.temperature > 0:
        return '"hello"' if index % 2 else "hello"
    if text == "Say hi" and request.messages[0].role == "system":
        return '"hello"'
    if text == "Say long":
        return "long"
    return scripted_benchmark.answer(request, index)
