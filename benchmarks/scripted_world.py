"""A scripted model without latency, for measuring everything but the model. Answers depend on the seed alone."""

from spar_core.engines.base import GenerationRequest
from spar_core.roles import format_rewrite

YES_OF_EIGHT = 2  # about one child in ten is accepted, so most trees reach depth 2 or 3


def answer(request: GenerationRequest, index: int) -> str:
    text = request.messages[0].content
    if text.startswith("Mend"):
        return format_rewrite(f"rewrite {request.seed} {index}")
    if text.startswith("Check"):
        yes = (request.seed >> (3 * index)) % 8 < YES_OF_EIGHT
        return f"Items four: met.\nFinal verdict: {'YES' if yes else 'NO'}"
    return f"answer {request.seed} {index}"
