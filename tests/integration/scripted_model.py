"""A scripted model of both roles, for `engine.kind=scripted`: answers depend on the request alone.

Every request is written to the file $SCRIPT_LOG, if that is set, before it is answered: one line
`kind key`, the key being that of the completion journal for the model digest in $SCRIPT_MODEL.
"""

import os

from spar_core.engines.base import GenerationRequest
from spar_core.roles import format_rewrite


def answer(request: GenerationRequest, index: int) -> str:
    kind = kind_of(request)
    if index == 0:
        _log(kind, request)
    if kind == "refine":
        return format_rewrite(f"rewrite {request.seed} {index}")
    if kind == "judge":
        # A quarter of the votes say YES: most answers fail, most trees find something sooner or later.
        yes = (request.seed >> (2 * index)) % 4 == 0
        return f"Looked at it.\nFinal verdict: {'YES' if yes else 'NO'}"
    return f"answer {request.seed} {index}"


def kind_of(request: GenerationRequest) -> str:
    text = request.messages[-1].content
    if text.startswith("Mend"):
        return "refine"
    return "judge" if text.startswith("Check") else "answer"


def _log(kind: str, request: GenerationRequest) -> None:
    place = os.environ.get("SCRIPT_LOG")
    if place:
        line = f"{kind} {request.key(os.environ.get('SCRIPT_MODEL', ''))}\n"
        descriptor = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())  # one write: whole lines even when the process is killed
        finally:
            os.close(descriptor)
