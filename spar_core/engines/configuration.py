"""How an engine is configured: one frozen model per kind, told apart by `kind`."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SCRIPT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class _EngineSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TransformersEngineConfig(_EngineSettings):
    """The model runs in this process (CPU or one GPU)."""

    kind: Literal["transformers"] = "transformers"
    model: str | None = None
    """Model folder or hub id; None: whoever opens the engine names the model."""
    device: str = "auto"
    """"auto" (the first GPU, else the CPU), "cpu", "cuda", "cuda:1", ..."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; "auto" is bfloat16 on a GPU and float32 on a CPU."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; None: OMP_NUM_THREADS, else the cores that are free."""
    max_batch_rows: int = Field(default=256, ge=1, le=65536)
    """Completions decoded at once."""
    cache_gib: float | None = Field(default=None, gt=0, le=4096)
    """GiB for keys and values; None: 1 on a CPU, 80 % of the free memory on a GPU."""


class OpenAIEngineConfig(_EngineSettings):
    """One or several OpenAI-compatible servers that somebody else runs."""

    kind: Literal["openai"] = "openai"
    base_urls: tuple[str, ...] = Field(min_length=1)
    """Server addresses, such as http://localhost:8000/v1; all serve the same model."""
    model: str
    """Name under which the servers serve the model."""
    model_digest: str | None = None
    """Identity of the weights; None: by the served name, which does not notice new weights under an old name."""
    api_key_env: str | None = None
    """Environment variable that holds the key; None: no key is sent."""
    timeout_s: float = Field(default=600.0, gt=0, le=86400)
    """Seconds one attempt may take."""
    max_concurrency: int = Field(default=256, ge=1, le=65536)
    """Requests in flight per server."""
    max_retries: int = Field(default=6, ge=0, le=100)
    """Attempts after the first."""


class VllmEngineConfig(_EngineSettings):
    """A vLLM server that is started for a model folder, and stopped when the engine closes."""

    kind: Literal["vllm"] = "vllm"
    model: str | None = None
    """Model folder or hub id; None: whoever opens the engine names the model."""
    python: str = ".venv-vllm/bin/python"
    """Python executable of the environment in which vLLM is installed."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; "auto" is the files' own, but float32 on a CPU without bfloat16 instructions."""
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    """GPUs over which the model is split."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's memory that all servers on it may take together; a CPU server ignores it (see cpu_cache_gib)."""
    cpu_cache_gib: int = Field(default=2, ge=1, le=4096)
    """GiB for keys and values of a CPU server."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Most tokens of prompt and answer; None: the model's own limit."""
    extra_args: tuple[str, ...] = ()
    """Further arguments of the server, such as ("--enforce-eager",)."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the server, in addition to this process's."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port on localhost; None: a free one."""
    start_timeout_s: float = Field(default=900.0, gt=0, le=86400)
    """Seconds until the server must be healthy."""
    timeout_s: float = Field(default=600.0, gt=0, le=86400)
    """Seconds one attempt of a request may take."""
    max_concurrency: int = Field(default=256, ge=1, le=65536)
    """Requests in flight."""
    max_retries: int = Field(default=6, ge=0, le=100)
    """Attempts after the first."""
    log_folder: Path | None = None
    """Where the server's log goes; None: logs/ in the home."""


class ScriptedEngineConfig(_EngineSettings):
    """Answers come from a Python function: for tests and for measuring everything but the model."""

    kind: Literal["scripted"] = "scripted"
    script: str
    """"module:function"; the function takes (request, sample index) and gives text, a Completion or an exception."""
    latency_s: float = Field(default=0.0, ge=0, le=3600)
    """Seconds each answer takes."""

    @field_validator("script")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not _SCRIPT.fullmatch(value):
            raise ValueError(f"{value!r} does not name a function: write module:function")
        return value


EngineConfig = Annotated[
    TransformersEngineConfig | OpenAIEngineConfig | VllmEngineConfig | ScriptedEngineConfig,
    Field(discriminator="kind"),
]
