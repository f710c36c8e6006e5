"""A scripted model that does not vote on one prompt before somebody asks for a rewrite about another."""

import threading

from spar_core.engines.base import GenerationRequest
from spar_core.errors import EngineUnavailableError
from tests.integration import scripted_model

HELD = "Name 7 birds."
WAIT_S = 60.0
asked: list[tuple[str, str]] = []
"""Kind and key of every request, in the order in which they are answered."""
rewriting = threading.Event()
goes_down: list[str] = []
"""What becomes of votes on the held prompt: `held`: they wait for a rewrite; `down`: then there is no answer."""


def begin(behaviour: str | None = None) -> None:
    """Forget what was asked."""
    asked.clear()
    goes_down[:] = [behaviour] if behaviour else []
    rewriting.clear()


def answer(request: GenerationRequest, index: int) -> str | Exception:
    """As the scripted model."""
    kind = scripted_model.kind_of(request)
    if index == 0:
        asked.append((kind, request.key("")))
    if kind == "refine":
        rewriting.set()
    if goes_down and kind == "judge" and HELD in request.messages[-1].content:
        assert rewriting.wait(WAIT_S), "no rewrite was asked for while a vote was held back"
        if goes_down == ["down"]:
            return EngineUnavailableError("the server went down")
    return scripted_model.answer(request, index)
