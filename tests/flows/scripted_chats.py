"""A scripted model for chats: it says how many messages it was shown, so that a chat's history can be read off."""

from spar_core.engines.base import Completion, GenerationRequest
from spar_core.errors import RequestRejectedError


def answer(request: GenerationRequest, index: int) -> str | Completion | Exception:
    said = [f"{message.role}: {message.content}" for message in request.messages]
    text = request.messages[-1].content
    if "TOO LONG" in text:
        return RequestRejectedError("the prompt has too many tokens", reason="prompt_too_long")
    if text == "Quote it":
        return '"' + " | ".join(said) + '"'
    return " | ".join(said)
