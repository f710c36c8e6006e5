"""What a vLLM server that is started for a model is told of its chat template, and what is known of its answers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import stand_in_server

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.configuration import VllmEngineConfig
from spar_core.engines.opening import Opening
from spar_core.engines.served_template import served_template
from spar_core.engines.thoughts import KNOWN_TAGS, Tags
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.errors import EngineError
from spar_core.records import Message
from tests.chat_templates import family_tokenizer

PARSER = ("--reasoning-parser", "deepseek_r1")


def folder_of(folder: Path, family: str) -> Path:
    stand_in_server.model_folder(folder)
    family_tokenizer(family).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "settings", "reading"),
    [
        ("qwen3", {}, "auto"),
        ("r1", {}, "opened"),
        ("qwen3-thinking", {}, "opened"),
        ("r1", {"thoughts": "none"}, "none"),
        ("r1", {"extra_args": PARSER}, "auto"),  # the server takes its answers apart
        ("r1", {"extra_args": ("--chat_template=other.jinja",)}, "auto"),  # not known here
        ("r1", {"extra_args": ("--tokenizer-mode", "mistral")}, "auto"),
    ],
)
def test_what_the_template_opens_is_known(family: str, settings: dict[str, Any], reading: str, tmp_path: Path) -> None:
    found = served_template(folder_of(tmp_path, family), VllmEngineConfig.model_validate(settings))
    assert found.rules.reading == reading
    assert found.template is None
    assert found.rules.tags == ((Tags("<think>", "</think>"),) if reading == "opened" else KNOWN_TAGS)


def test_tags_that_a_server_would_leave_out_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path, "qwen3")
    served_template(folder, VllmEngineConfig(extra_args=PARSER))
    assert not caplog.records
    served_template(folder, VllmEngineConfig())
    assert "--reasoning-parser" in caplog.text


def test_a_tokenizer_that_cannot_be_read_here_is_the_servers_business(tmp_path: Path) -> None:
    found = served_template(stand_in_server.model_folder(tmp_path), VllmEngineConfig())
    assert (found.rules.reading, found.template) == ("auto", None)


def test_a_template_that_writes_the_date_is_replaced(tmp_path: Path) -> None:
    python, logs = stand_in_server.stand_in(tmp_path), tmp_path / "logs"
    folder = folder_of(tmp_path / "model", "llama32")
    config = VllmEngineConfig(python=python, start_timeout_s=30)

    async def run() -> str:
        engine = await asyncio.to_thread(VllmEngine, config, str(folder), Opening(logs=logs))
        try:
            asked = GenerationRequest((Message("user", "hi"),), Sampling(max_tokens=3), 0)
            return (await engine.generate(asked)).completions[0].text
        finally:
            await engine.close()

    assert asyncio.run(run()) == "HI"
    (arguments,) = stand_in_server.starts(tmp_path)
    file = Path(arguments.split("--chat-template ")[1].split()[0])
    assert file.parent == logs
    assert "'26 Jul 2024'" in file.read_text()
    assert "strftime_now(" not in file.read_text()


def test_another_template_is_what_the_server_is_told(tmp_path: Path) -> None:
    other = "{{ messages[0].content }}"
    found = served_template(folder_of(tmp_path, "qwen3"), VllmEngineConfig(chat_template=other))
    assert found.template == other


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"chat_template": "tool_use"}, "no chat template 'tool_use'"),
        ({"chat_template": "{{ x }}", "extra_args": ("--chat-template=o.jinja",)}, "laid out by an argument"),
    ],
)
def test_a_template_that_cannot_be_used_is_an_error(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=said):
        served_template(folder_of(tmp_path, "qwen3"), VllmEngineConfig.model_validate(settings))
