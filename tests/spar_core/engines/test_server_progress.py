"""A server of one's own that is slow is waited for; one that hangs is not."""

import asyncio
from pathlib import Path

import pytest

from spar_core.engines import server_progress
from spar_core.engines.base import Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.errors import EngineUnavailableError
from spar_core.records import Message
from tests.spar_core.engines.stand_in_server import model_folder, stand_in


def _asked(folder: Path, mode: str) -> list[Generation]:
    python = stand_in(folder)
    model = model_folder(folder)
    config = VllmEngineConfig(
        python=python, env={"STAND_IN_MODE": mode}, log_folder=folder, timeout_s=0.3, max_retries=0, replicas=1
    )
    engine = VllmEngine(config, str(model))

    async def ask() -> list[Generation]:
        requests = [GenerationRequest((Message("user", f"word {number}"),), Sampling(), number) for number in range(3)]
        try:
            return await asyncio.gather(*map(engine.generate, requests))
        finally:
            await engine.close()

    return asyncio.run(ask())


def test_an_answer_may_take_longer_than_the_timeout_while_the_server_writes(tmp_path):
    answers = _asked(tmp_path, "plodding:2")
    assert [answer.completions[0].text for answer in answers] == ["WORD 0", "WORD 1", "WORD 2"]


def test_a_server_that_writes_nothing_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "spar_core.engines.vllm_server.is_writing", lambda address: server_progress.is_writing(address, 1)
    )
    with pytest.raises(EngineUnavailableError, match="Timeout"):
        _asked(tmp_path, "hanging:30")


def test_a_server_that_tells_no_counts_is_not_known_to_write():
    assert not server_progress.is_writing("http://127.0.0.1:9", within_s=1)
