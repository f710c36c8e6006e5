"""A scripted model of both roles, for `engine.kind=scripted`: answers depend on the request alone.

Every request is written to the file $SCRIPT_LOG, if that is set, before it is answered: one line
`kind key`, the key being that of the completion journal for the model digest in $SCRIPT_MODEL.
"""

import os

from spar_core.engines.base import GenerationRequest
from spar_core.errors import RequestRejectedError
from spar_core.prompts import PromptLibrary
from spar_core.roles import format_rewrite

_LIBRARY = PromptLibrary.load("starter")
_CUT = "\0"
# How each request begins, in the words of the prompt set.
_OPENINGS = {
    kind: _LIBRARY.fill(kind, **dict.fromkeys(_LIBRARY.placeholders(kind), _CUT)).partition(_CUT)[0]
    for kind in ("refine", "judge", "rubric", "meta_judge")
}


def answer(request: GenerationRequest, index: int) -> str:
    kind = kind_of(request)
    if index == 0:
        _log(kind, request)
    if kind == "refine":
        return format_rewrite(f"rewrite {request.seed} {index}")
    if kind == "rubric":
        return f"Looked at it, {request.seed} {index}.\nScore: {(request.seed >> index) % 6}"
    if kind == "meta_judge":
        return f"Compared them.\nBetter judgement: {'AB'[request.seed % 2]}"
    if kind == "judge":
        # A quarter of the votes say YES: most answers fail, most trees find something sooner or later.
        yes = (request.seed >> (2 * index)) % 4 == 0
        return f"Looked at it.\nFinal verdict: {'YES' if yes else 'NO'}"
    return f"answer {request.seed} {index}"


def mute(request: GenerationRequest, index: int) -> str:
    """The same, but a judge that never comes to a verdict."""
    return "I like it." if kind_of(request) == "judge" else answer(request, index)


def refuse(request: GenerationRequest, index: int) -> str:
    """A server whose settings fit no request."""
    raise RequestRejectedError("unknown parameter", "http_400")


def kind_of(request: GenerationRequest) -> str:
    return kind_of_text(request.messages[-1].content)


def kind_of_text(text: str) -> str:
    return next((kind for kind, opening in _OPENINGS.items() if text.startswith(opening)), "answer")


def _log(kind: str, request: GenerationRequest) -> None:
    place = os.environ.get("SCRIPT_LOG")
    if place:
        line = f"{kind} {request.key(os.environ.get('SCRIPT_MODEL', ''))}\n"
        descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())  # one write: whole lines even when the process is killed
        finally:
            os.close(descriptor)
