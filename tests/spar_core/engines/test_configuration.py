from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from spar_core.engines.configuration import EngineConfig, OpenAIEngineConfig, ScriptedEngineConfig

ADAPTER: TypeAdapter[Any] = TypeAdapter(EngineConfig)


def test_the_kind_decides_the_model() -> None:
    config = ADAPTER.validate_python({"kind": "openai", "base_urls": ["http://a"], "model": "m"})
    assert config == OpenAIEngineConfig(base_urls=("http://a",), model="m")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"kind": "nothing"}, "'transformers', 'openai', 'vllm', 'scripted'"),
        ({"kind": "transformers", "modle": "x"}, "modle"),
        ({"kind": "transformers", "max_batch_rows": 0}, "max_batch_rows"),
        ({"kind": "openai", "base_urls": [], "model": "m"}, "base_urls"),
        ({"kind": "vllm", "gpu_memory_utilization": 1.5}, "gpu_memory_utilization"),
        ({"kind": "scripted", "script": "no function"}, "module:function"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ADAPTER.validate_python(settings)


def test_configurations_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ScriptedEngineConfig(script="a:b").latency_s = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("variant", ADAPTER.json_schema()["$defs"].values(), ids=lambda variant: variant["title"])
def test_every_field_says_what_it_means(variant: dict[str, Any]) -> None:
    undocumented = [name for name, field in variant["properties"].items() if "description" not in field]
    assert undocumented == ["kind"]
