"""A scripted model whose answers hold commas, hold none, or are cut, by the seed of the request."""

from spar_core.engines.base import Completion, GenerationRequest


def answer(request: GenerationRequest, index: int) -> Completion | str:
    number = request.seed + 7 * index
    if number % 5 == 0:
        return Completion(f"Answer {number}, cut", "length", 3)
    return f"Well, answer {number}, yes." if number % 5 < 3 else f"Answer {number}."
