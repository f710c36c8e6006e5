import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from misbehaving_server import serving

from spar_core.engines.base import Engine, GenerationRequest, Sampling
from spar_core.engines.configuration import (
    EngineConfig,
    OpenAIEngineConfig,
    ScriptedEngineConfig,
    TransformersEngineConfig,
)
from spar_core.engines.factory import open_engine
from spar_core.errors import ConfigError, EngineError
from spar_core.hashing import model_digest
from spar_core.records import Message

REQUEST = GenerationRequest((Message("user", "w9"),), Sampling(max_tokens=2), 3)


def first_text(config: EngineConfig, model: Path | None = None) -> tuple[str, str]:
    async def run() -> tuple[str, str]:
        engine = await open_engine(config, model)
        assert isinstance(engine, Engine)
        text = (await engine.generate(REQUEST)).completions[0].text
        await engine.close()
        return text, engine.model_digest

    return asyncio.run(run())


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write an importable module whose function `answer` gives a text; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str) -> str:
        (tmp_path / f"{name}.py").write_text(f"def answer(request, index):\n    return '{name} ' + str(request.seed)\n")
        return f"{name}:answer"

    return write


def test_scripted_engine_answers_from_the_named_function(script: Callable[[str], str]) -> None:
    first, second = (first_text(ScriptedEngineConfig(script=script(name))) for name in ("one", "two"))
    assert (first[0], second[0]) == ("one 3", "two 3")
    assert first[1] != second[1]


@pytest.mark.parametrize(
    "name", ["no_such_module:f", "spar_core.records:no_such_function", "spar_core.hashing:ID_HEX_DIGITS"]
)
def test_a_script_that_cannot_be_used_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.script"):
        first_text(ScriptedEngineConfig(script=name))


def test_in_process_engine_takes_its_model_from_caller_or_configuration(model_folder: Callable[[str], Path]) -> None:
    folder = model_folder("llama")
    config = TransformersEngineConfig(device="cpu", threads=1)
    given = first_text(config, folder)
    assert given == first_text(config.model_copy(update={"model": str(folder)}))
    assert given[1] == model_digest(folder)
    with pytest.raises(ConfigError, match=r"engine\.model"):
        first_text(config)


def test_server_engine_is_identified_when_it_opens() -> None:
    with serving() as server:
        assert first_text(OpenAIEngineConfig(base_urls=(server.url,), model="m"))[0] == "w9/3"
    with pytest.raises(EngineError, match="answers"):
        first_text(OpenAIEngineConfig(base_urls=(server.url,), model="m"))
