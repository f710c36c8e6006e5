"""An engine that answers nobody before a given number of requests is in flight."""

import asyncio
from collections.abc import Callable

from spar_core.engines.base import Completion, Generation, GenerationRequest

_PATIENCE_S = 5.0


class TogetherEngine:
    def __init__(self, wanted: int, answer: Callable[[GenerationRequest], str]) -> None:
        self.requests: list[GenerationRequest] = []
        self._wanted = wanted
        self._answer = answer
        self._all_here = asyncio.Event()

    @property
    def model_digest(self) -> str:
        return "together"

    async def generate(self, request: GenerationRequest) -> Generation:
        self.requests.append(request)
        if len(self.requests) == self._wanted:
            self._all_here.set()
        await asyncio.wait_for(self._all_here.wait(), _PATIENCE_S)
        return Generation(tuple(Completion(self._answer(request), "stop", 1) for _ in range(request.n)), 1)

    async def close(self) -> None:
        pass
