"""Requests to a server of one's own, whatever becomes of it meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.errors import EngineUnavailableError
from spar_core.records import Message

REQUEST = GenerationRequest((Message("user", "a"),), Sampling(), 0)


class Fleet:
    """One that ends when the test says so."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.stopped = False

    def state(self) -> str:
        return "killed"

    @contextmanager
    def told_of_its_end(self, listener: Callable[[], None]) -> Iterator[None]:
        self.listeners.append(listener)
        yield

    def ends(self) -> None:
        for listener in self.listeners:
            listener()

    def stop(self) -> None:
        self.stopped = True


class Silent:
    """A client that is never answered, and cannot be closed."""

    async def generate(self, _request: GenerationRequest) -> Any:
        await asyncio.sleep(60)

    async def close(self) -> None:
        raise RuntimeError("no")


@pytest.fixture
def engine() -> VllmEngine:
    made = VllmEngine.__new__(VllmEngine)
    made.fleet, made._client = Fleet(), Silent()  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_end_of_the_server_is_an_error_but_hides_no_cancellation(engine: VllmEngine, cancelled: bool) -> None:
    async def run() -> None:
        asked = asyncio.ensure_future(engine.generate(REQUEST))
        await asyncio.sleep(0)
        engine.fleet.ends()  # type: ignore[attr-defined]
        if cancelled:
            asked.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else EngineUnavailableError):
            await asked

    asyncio.run(run())


def test_the_server_is_stopped_even_if_its_connections_cannot_be_closed(engine: VllmEngine) -> None:
    with pytest.raises(RuntimeError):
        asyncio.run(engine.close())
    assert engine.fleet.stopped  # type: ignore[attr-defined]
