from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from spar_core.engines.configuration import (
    EngineConfig,
    OpenAIEngineConfig,
    ScriptedEngineConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from spar_core.hashing import digest

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


KINDS = [variant for variant in ADAPTER.json_schema()["$defs"].values() if "properties" in variant]


@pytest.mark.parametrize("variant", KINDS, ids=lambda variant: variant["title"])
def test_every_field_says_what_it_means(variant: dict[str, Any]) -> None:
    told = [name for name, field in variant["properties"].items() if "description" in field]
    assert {*told, "kind"} == {*variant["properties"], "kind"}


OPENAI = OpenAIEngineConfig(base_urls=("http://a",), model="m")


def changed(config: Any, **fields: Any) -> bool:
    return type(config)(**{**config.model_dump(), **fields}).identity() != config.identity()


@pytest.mark.parametrize(
    ("config", "identity"),
    [
        (TransformersEngineConfig(dtype="bfloat16"), {"kind": "transformers", "dtype": "bfloat16"}),
        (OPENAI, {"kind": "openai", "extra_body": {}, "send_seed": True}),
        (
            VllmEngineConfig(max_model_len=512),
            {
                "kind": "vllm",
                "dtype": "auto",
                "max_model_len": 512,
                "extra_body": {},
                "send_seed": True,
                "extra_args": [],
                "env": {},
            },
        ),
        (ScriptedEngineConfig(script="a:b"), {"kind": "scripted", "script": "a:b"}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_identity_holds_what_changes_answers(config: Any, identity: dict[str, Any]) -> None:
    assert config.identity() == identity


# Every field is either counted or known to change no answer: a new one has to be put into one of the two.
THINKING = {
    **{"chat_template_kwargs": {"enable_thinking": False}, "thoughts": "opened", "thought_tokens": 9},
    **{"thought_tags": [["<a>", "</a>"]]},
}
TEMPLATE = {"chat_template": "{{ messages }}"}
REFUSED = {"chat_template": None}  # servers that are not started here have their own


@pytest.mark.parametrize(
    ("config", "changes", "the_same"),
    [
        (
            TransformersEngineConfig(),
            {"dtype": "float16", **THINKING, **TEMPLATE},
            {"model": "x", "device": "cuda", "threads": 3, "max_batch_rows": 7, "cache_gib": 2.0},
        ),
        (
            OPENAI,
            {"extra_body": {"top_k": 1}, "send_seed": False, **THINKING},
            {
                **REFUSED,
                **{"base_urls": ("http://b",), "model": "n", "model_digest": "d", "api_key_env": "KEY"},
                **{"timeout_s": 1.0, "max_concurrency": 2, "max_retries": 3, "max_pause_s": 4.0, "max_wait_s": 5.0},
            },
        ),
        (
            VllmEngineConfig(),
            {
                **{"dtype": "float16", "max_model_len": 99, "extra_body": {"top_k": 1}, "send_seed": False},
                **{"extra_args": ("--quantization", "fp8"), "env": {"VLLM_ATTENTION_BACKEND": "X"}, **THINKING},
                **TEMPLATE,
            },
            {
                **{"model": "x", "python": "p", "tensor_parallel": 2, "gpu_memory_utilization": 0.5},
                **{"roles": {"refiner": {"replicas": 2}}},
                **{"replicas": 4, "cpu_cache_gib": 3, "port": 81, "start_timeout_s": 1.0, "log_folder": "l"},
                **{"timeout_s": 1.0, "max_concurrency": 2, "max_retries": 3, "max_pause_s": 4.0, "max_wait_s": 5.0},
            },
        ),
        (ScriptedEngineConfig(script="a:b"), {"script": "a:c"}, {"latency_s": 1.0}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_every_field_is_known_to_change_answers_or_not(
    config: Any, changes: dict[str, Any], the_same: dict[str, Any]
) -> None:
    assert {*changes, *the_same, "kind"} == set(type(config).model_fields)
    assert [name for name, value in changes.items() if not changed(config, **{name: value})] == []
    assert [name for name, value in the_same.items() if changed(config, **{name: value})] == []


def test_server_arguments_count_unless_known_to_change_nothing() -> None:
    harmless = (
        "--enforce-eager",
        "--port",
        "81",
        "--gpu-memory-utilization=0.5",
        "-tp",
        "2",
        "--no-enable-prefix-caching",
    )
    loud = ("--disable-log-stats", "--uvicorn_log_level", "warning")
    told = ("--rope_scaling", '{"a": 1}', "--hf-overrides={}", "--unheard-of", "-1", "--trust-remote-code")
    config = VllmEngineConfig(extra_args=(*harmless, *told, *loud))
    assert config.identity()["extra_args"] == [
        f"--hf-overrides {digest(['{}'])}",
        f"--rope-scaling {digest([told[1]])}",
        f"--trust-remote-code {digest([])}",
        f"--unheard-of {digest(['-1'])}",
    ]
    assert not changed(config, extra_args=("--hf-overrides", "{}", "--trust-remote-code", *told[:2], *told[3:5]))
    assert changed(config, extra_args=("--no-trust-remote-code",))


def test_server_variables_count_by_digest_unless_known_to_change_nothing() -> None:
    config = VllmEngineConfig(
        env={"VLLM_API_KEY": "$SESAME", "HF_TOKEN": "$SESAME", "VLLM_LOGGING_LEVEL": "INFO", "VLLM_USE_V1": "sesame"}
    )
    assert list(config.identity()["env"]) == ["VLLM_USE_V1"]  # type: ignore[arg-type]
    assert "sesame" not in str(config.identity())
    assert changed(config, env={"VLLM_USE_V1": "0"})
    assert not changed(config, env={"VLLM_USE_V1": "sesame"})


@pytest.mark.parametrize("name", ["max_tokens", "seed", "messages", "stream"])
def test_extra_fields_leave_the_requests_own_alone(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} belong"):
        OpenAIEngineConfig(base_urls=("http://a",), model="m", extra_body={name: 1})


def test_the_old_name_of_replicas_is_still_read() -> None:
    assert VllmEngineConfig.model_validate({"data_parallel": 3}).replicas == 3
    assert VllmEngineConfig.model_validate({"data_parallel": "auto", "replicas": "auto"}).replicas == "auto"
    with pytest.raises(ValidationError, match=r"give engine\.replicas alone"):
        VllmEngineConfig.model_validate({"data_parallel": 3, "replicas": 2})


def test_replicas_are_not_bound_to_the_same_cores() -> None:
    bound = {"VLLM_CPU_OMP_THREADS_BIND": "0,1"}
    assert VllmEngineConfig(env=bound).replicas == "auto"
    with pytest.raises(ValidationError, match="binds all 2 replicas to the same cores"):
        VllmEngineConfig(env=bound, replicas=2)
