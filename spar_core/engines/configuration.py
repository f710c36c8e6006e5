"""How an engine is configured: one frozen model per kind, told apart by `kind`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    field_validator,
    model_validator,
)

from spar_core.engines.role_servers import SERVED_ROLES, OwnGpus, ServedRole, ServedRoles
from spar_core.engines.thoughts import KNOWN_TAGS, Reading, Tags, ThoughtRules
from spar_core.engines.vllm_identity import answering_environment, answering_flags
from spar_core.secrets import Environment, VariableName, refuse_literals, refuse_secret_arguments

OMP_BINDING = "VLLM_CPU_OMP_THREADS_BIND"
"""Environment variable that says on which cores a vLLM server computes."""
_SCRIPT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_OWN_FIELDS = frozenset(("model", "messages", "max_tokens", "max_completion_tokens", "n", "seed", "stream"))
_RENDERING = frozenset(
    ("conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize")
)


class _EngineSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)

    _answering: ClassVar[frozenset[str]] = frozenset()
    """Names of the fields that change answers."""

    @property
    def repeatable(self) -> bool:
        """Whether every request carries its seed, so that asking anew can give the same answers."""
        return True

    def identity(self) -> dict[str, JsonValue]:
        """The settings that change answers, for keys of what was computed with them; never a secret.

        What only changes speed, place or patience is left out, and so are the weights, which have a digest of their
        own. Environment variables that this process hands on unconfigured are not seen.
        """
        return self.model_dump(mode="json", include={"kind", *self._answering})


class ThinkingSettings(_EngineSettings):
    """How a model is asked to think, and how its thoughts are told from its answers (docs/models.md)."""

    chat_template: str | None = Field(default=None, min_length=1)
    """Chat template instead of the model's own: its text (Jinja), or the name of another that its tokenizer brings;
    trainings lay out chats with the same. A server that is not started here has its own."""
    chat_template_kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables of the chat template, such as {"enable_thinking": false}; trainings lay out chats with the same."""
    thoughts: Reading = "auto"
    """auto: thoughts are told from answers by their tags, and kept in a column of their own; opened: the same for a
    server whose chat template opens the thought (one that is not started here), so that a text without a closing tag is
    all thought; none: they stay part of the answer, and are judged and trained on as such."""
    thought_tags: tuple[Tags, ...] | None = Field(default=None, min_length=1)
    """Pairs of what stands before and behind a thought, such as [["<think>", "</think>"]]; None: those of the model
    families in docs/models.md."""
    thought_tokens: int | None = Field(default=None, ge=1, le=1_048_576)
    """Most tokens of a thought, in addition to the max_tokens of every request, which then are the answer's; a longer
    one ends its sample. None: thought and answer share max_tokens. Servers can only be given the sum."""

    @field_validator("chat_template_kwargs")
    @classmethod
    def _are_variables_of_templates(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(_RENDERING & set(value)):
            raise ValueError(f"{', '.join(taken)} are no variables of a chat template: leave them out")
        refuse_literals(value)
        return value

    @model_validator(mode="after")
    def _tags_can_be_told_apart(self) -> Self:
        for opening, closing in self.thought_tags or ():
            if not opening.strip() or not closing.strip() or opening == closing:
                raise ValueError(
                    "thought_tags are pairs of two different texts: what stands before and behind a thought"
                )
        if self.thoughts == "none" and self.thought_tokens is not None:
            raise ValueError(
                "thought_tokens limits thoughts, but thoughts is none: leave it out and raise max_tokens, or set "
                "thoughts to auto"
            )
        return self

    def rules(self) -> ThoughtRules:
        """How texts are taken apart."""
        return ThoughtRules(self.thoughts, self.thought_tags or KNOWN_TAGS)

    def identity(self) -> dict[str, JsonValue]:
        """The settings that change answers; those of thinking where they are not the defaults."""
        own = self.model_dump(mode="json", include=set(ThinkingSettings.model_fields), exclude_defaults=True)
        return {**super().identity(), **own}

    def layout(self) -> dict[str, JsonValue]:
        """The settings with which trainings lay out chats; without those that are the defaults."""
        names = {"chat_template", "chat_template_kwargs", "thought_tags"}
        return self.model_dump(mode="json", include=names, exclude_defaults=True)


class ServedSettings(ThinkingSettings):
    """What every engine has that asks servers over HTTP."""

    timeout_s: float = Field(default=600.0, gt=0, le=86400)
    """Seconds one attempt may take: connecting, waiting in the server's own queue and generating all completions
    together, since answers are not streamed. It must be longer than the slowest request takes at max_concurrency. Of a
    `vllm` server: seconds after which it is looked whether it still counts tokens; a request ends only where not."""
    max_concurrency: int = Field(default=256, ge=1, le=65536)
    """Requests in flight per server, of the whole process; fewer while a server refuses more (HTTP 429, 503)."""
    max_retries: int = Field(default=6, ge=0, le=100)
    """Attempts after the first. Being told to wait (HTTP 429, 503) is no attempt."""
    max_pause_s: float = Field(default=120.0, gt=0, le=86400)
    """Longest pause in seconds that a server's Retry-After is obeyed for; it is asked again after that."""
    max_wait_s: float = Field(default=900.0, gt=0, le=604800)
    """Seconds a request may be put off in all by busy servers (HTTP 429, 503) until the stage stops."""
    send_seed: bool = True
    """Send each request's seed. Without it a server draws as it likes, which some batch better; what was answered is
    journaled either way, but asking anew gives other answers: `spar run` says so, and its JSON `repeatable: false`."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of every request, such as {"top_k": 20, "reasoning_effort": "low"}; a secret by the name of its
    environment variable: {"field": {"from_env": "NAME"}}."""

    @property
    def repeatable(self) -> bool:
        """Whether every request carries its seed, so that asking anew can give the same answers."""
        return self.send_seed

    @field_validator("extra_body")
    @classmethod
    def _leaves_own_fields_alone(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(_OWN_FIELDS & set(value)):
            raise ValueError(f"{', '.join(taken)} belong to the request itself: set them where the run sets them")
        refuse_literals(value)
        return value

    @model_validator(mode="after")
    def _one_place_for_template_variables(self) -> Self:
        if self.chat_template_kwargs and "chat_template_kwargs" in self.extra_body:
            raise ValueError(
                "chat_template_kwargs are set twice, by themselves and in extra_body: leave them out of extra_body"
            )
        return self


class TransformersEngineConfig(ThinkingSettings):
    """The model runs in this process (CPU or one GPU)."""

    _answering: ClassVar[frozenset[str]] = frozenset(("dtype",))

    kind: Literal["transformers"] = "transformers"
    model: str | None = None
    """Model folder or hub id; None: whoever opens the engine names the model."""
    device: str = "auto"
    """"auto" (the first GPU, else the CPU), "cpu", "cuda", "cuda:1", ..."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; "auto" is bfloat16 on a GPU and float32 on a CPU."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU cores to compute with, each its own batch; None: OMP_NUM_THREADS, else all that this process may use."""
    max_batch_rows: int | None = Field(default=None, ge=1, le=65536)
    """Completions decoded at once; None: 256 on a CPU, on a GPU up to 2048, as its memory allows."""
    cache_gib: float | None = Field(default=None, gt=0, le=4096)
    """GiB for keys and values; None: of the free memory a quarter on a CPU (at least 1 GiB), 80 % on a GPU."""


def _plain_address(address: str) -> str:
    """An address without user, password, query or fragment: what is a secret in one, and what no request would hold."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
    except ValueError:
        raise ValueError("is no server address: give one like http://localhost:8000/v1") from None
    if not parts.hostname:
        raise ValueError("is no server address: give one like http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "an address holds no user, password, query or fragment; export the key in an environment variable and name "
            "that (api_key_env in a description, #MODEL&key=VARIABLE after an address)"
        )
    return address


Address = Annotated[str, AfterValidator(_plain_address)]


class OpenAIEngineConfig(ServedSettings):
    """One or several OpenAI-compatible servers that somebody else runs."""

    _answering: ClassVar[frozenset[str]] = frozenset(("extra_body", "send_seed"))

    kind: Literal["openai"] = "openai"
    base_urls: tuple[Address, ...] = Field(min_length=1)
    """Server addresses, such as http://localhost:8000/v1; all serve the same model."""
    model: str
    """Name under which the servers serve the model."""
    model_digest: str | None = None
    """Identity of the weights; None: by the served name, which does not notice new weights under an old name."""
    api_key_env: VariableName | None = None
    """Environment variable that holds the key; None: no key is sent."""

    @field_validator("chat_template")
    @classmethod
    def _lays_out_chats_itself(cls, value: str | None) -> None:
        if value is not None:
            raise ValueError(
                "a server lays out chats itself: start it with the template (vLLM: --chat-template FILE), or let the "
                "weights be served here (engine.kind vllm or transformers)"
            )


class VllmEngineConfig(ServedSettings):
    """vLLM servers that are started for a model folder, and stopped when the engine closes."""

    _answering: ClassVar[frozenset[str]] = frozenset(("dtype", "max_model_len", "extra_body", "send_seed"))

    kind: Literal["vllm"] = "vllm"
    model: str | None = None
    """Model folder or hub id; None: whoever opens the engine names the model."""
    python: str = ".venv-vllm/bin/python"
    """Python executable of the environment in which vLLM is installed."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights; "auto" is the files' own, but float32 on a CPU without bfloat16 instructions."""
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    """GPUs over which the model is split."""
    replicas: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = "auto"
    """Servers of the same model that answer at once, each on `tensor_parallel` GPUs of its own, or on a CPU on its part
    of the cores; one that dies is started again while the others go on. auto: as many as the visible GPUs hold, those
    left out that other models need; one on a CPU. Its earlier name, `data_parallel`, is still read."""
    roles: ServedRoles = ServedRoles()
    """What the servers of the actor or of the refiner have otherwise."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of a GPU's memory that all servers on it may take together; a CPU server ignores it (see cpu_cache_gib)."""
    cpu_cache_gib: int = Field(default=2, ge=1, le=4096)
    """GiB for keys and values of each CPU server."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Most tokens of prompt and answer; None: the model's own limit."""
    extra_args: Annotated[tuple[str, ...], AfterValidator(refuse_secret_arguments)] = ()
    """Further arguments of the server, such as ("--enforce-eager",); never a secret, as everybody on the machine sees
    them."""
    env: Environment = Field(default_factory=dict)
    """Environment variables of the server, in addition to this process's; a secret by the name of the variable that
    holds it: {"HF_TOKEN": "$HF_TOKEN"}."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port on localhost, of several replicas the first; None: free ones."""
    start_timeout_s: float = Field(default=900.0, gt=0, le=86400)
    """Seconds until the server must be healthy."""
    log_folder: Path | None = None
    """Where the server's log goes; None: logs/ in the home."""
    _own_gpus: OwnGpus | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _reads_the_old_name(cls, data: Any) -> Any:
        """`data_parallel` of earlier versions; runs of theirs are still read."""
        if not isinstance(data, Mapping) or "data_parallel" not in data:
            return data
        if data.get("replicas", data["data_parallel"]) != data["data_parallel"]:
            raise ValueError("engine.data_parallel is the old name of engine.replicas: give engine.replicas alone")
        values = {**data, "replicas": data["data_parallel"]}
        del values["data_parallel"]
        return values

    @model_validator(mode="after")
    def _replicas_have_cores_of_their_own(self) -> Self:
        several = [
            count
            for count in (self.replicas, self.roles.actor.replicas, self.roles.refiner.replicas)
            if count not in ("auto", 1, None)
        ]
        if several and OMP_BINDING in self.env:
            raise ValueError(
                f"engine.env binds all {several[0]} replicas to the same cores: leave {OMP_BINDING} out, and each "
                "gets a part of the cores that this process may use"
            )
        return self

    @model_validator(mode="after")
    def _roles_have_room(self) -> Self:
        for role in SERVED_ROLES:
            served, gpus = self.for_role(role), getattr(self.roles, role).gpus
            if gpus is not None and served.tensor_parallel * served.replicas_on(1) > gpus:
                raise ValueError(
                    f"engine.roles.{role}.gpus is {gpus}, but its {served.replicas_on(1)} servers take "
                    f"{served.tensor_parallel} GPUs each: raise it, or lower replicas or tensor_parallel"
                )
        return self

    @property
    def own_gpus(self) -> OwnGpus | None:
        """The GPUs that the role has to itself whose engine this is; None where it shares them out with others."""
        return self._own_gpus

    def for_role(self, role: ServedRole) -> "VllmEngineConfig":
        """What serves the models of a role."""
        if self.roles == ServedRoles():
            return self
        update = {**getattr(self.roles, role).settings(), "roles": ServedRoles()}
        served = self.model_copy(update=update)
        served._own_gpus = self.roles.gpus_of(role)
        return served

    def replicas_on(self, gpus: int) -> int:
        """Servers where `gpus` GPUs may be used."""
        return max(1, gpus // self.tensor_parallel) if self.replicas == "auto" else self.replicas

    def identity(self) -> dict[str, JsonValue]:
        """The settings that change answers; of arguments and environment all that is not known to change nothing."""
        return {
            **super().identity(),
            "extra_args": list(answering_flags(self.extra_args)),
            "env": dict(answering_environment(self.env)),
        }


class ScriptedEngineConfig(_EngineSettings):
    """Answers come from a Python function: for tests and for measuring everything but the model."""

    _answering: ClassVar[frozenset[str]] = frozenset(("script",))

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
