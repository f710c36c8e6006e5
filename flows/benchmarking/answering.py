"""How a request wants prompts answered: sampling, system text, chat template, and what of it stands with the scores."""

from typing import Any, NamedTuple

from flows.benchmarking.request import BenchmarkRequest
from flows.wiring.models import default_configuration
from spar_core.benchmarks import benchmark
from spar_core.benchmarks.plugin import AskedBenchmark
from spar_core.config.method import ResponsesConfig
from spar_core.config.run import EvaluationConfig
from spar_core.engines.configuration import EngineConfig, ThinkingSettings
from spar_core.engines.model_reference import is_server
from spar_core.errors import ConfigError
from spar_core.evaluation.samples import default_sizes
from spar_core.evaluation.settings import STANDARD, settings_text, template_name
from storage.home import Home

_OPTIONS = ("temperature", "top_p", "samples", "pass_k", "system", "chat_template")
_OWN_TEMPLATE = (
    "a server lays out chats itself: start it with the template (vLLM: --chat-template FILE) and leave --chat-template "
    "out, or name the weights' folder as --model"
)


class Answering(NamedTuple):
    """`settings`: what is not the standard, as it stands with items and scores; `sizes`: the k of pass^k."""

    sampling: ResponsesConfig
    system: str
    sizes: tuple[int, ...]
    settings: str

    def asked(self) -> dict[str, Any]:
        """What the stage of the answers reads."""
        return {"sampling": self.sampling.model_dump(mode="json"), **self.under_system()}

    def under_system(self) -> dict[str, Any]:
        """The system text, as an entry of a stage's configuration where there is one."""
        return {"system": self.system} if self.system else {}

    def told(self) -> dict[str, Any]:
        """The settings, as an entry of a stage's configuration where they are not the standard."""
        return {"settings": self.settings} if self.settings else {}

    def scored(self) -> dict[str, Any]:
        """What the stages of verdicts and scores read; nothing for the standard."""
        samples = self.sampling.per_prompt
        return {**self.told(), **({"samples": samples, "pass_k": list(self.sizes)} if samples > 1 else {})}


def benchmark_answering(request: BenchmarkRequest, engine: EngineConfig, seed: int) -> Answering:
    """How the prompts of a benchmark are answered: one greedy answer, where nothing else is asked for.

    Raises:
        ConfigError: the options do not go together.
    """
    sampling = ResponsesConfig(
        per_prompt=request.samples or STANDARD["samples"],
        temperature=STANDARD["temperature"] if request.temperature is None else request.temperature,
        top_p=request.top_p or STANDARD["top_p"],
        max_tokens=request.max_tokens,
    )
    values = _said(sampling, seed if sampling.temperature else None) | _chat(request, engine)
    return _made(request, sampling, settings_text(values))


def self_play_answering(request: BenchmarkRequest, engine: EngineConfig, usual: EvaluationConfig) -> Answering:
    """How held-out prompts of self-play are answered: as its evaluation does, where nothing else is asked for.

    Raises:
        ConfigError: the options do not go together.
    """
    standard = ResponsesConfig(**usual.actor.model_dump(mode="json"), per_prompt=usual.samples)
    given = {"per_prompt": request.samples, "temperature": request.temperature, "top_p": request.top_p}
    sampling = standard.model_copy(update={name: value for name, value in given.items() if value is not None})
    values = _said(sampling, request.seed) | _chat(request, engine)
    return _made(request, sampling, settings_text(values, _said(standard, usual.seed)))


def check_answering(request: BenchmarkRequest) -> None:
    """See that the options go together, before anything is started or any model is looked for.

    Raises:
        ConfigError: they do not, or nothing that is asked for asks the model under test.
    """
    asked = [f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(request, name) not in (None, "", ())]
    if asked and not any(benchmark(name).answered for name in request.names()):
        raise ConfigError(f"{request.benchmark} asks for no answers that {', '.join(asked)} could change: leave it out")
    config = request.configuration()
    if request.chat_template is not None and is_server(request.model):
        raise ConfigError(_OWN_TEMPLATE)
    engine = with_template(config.engine, request.chat_template)
    for found in map(benchmark, request.names()):
        if found.answered and isinstance(found, AskedBenchmark):
            benchmark_answering(request, engine, config.seed)
        elif found.answered:
            self_play_answering(request, engine, config.evaluation)


def with_template(engine: EngineConfig, template: str | None) -> EngineConfig:
    """The engine of the model under test, laying out its chats by another template where one is given.

    Raises:
        ConfigError: this engine takes none.
    """
    if template is None:
        return engine
    if not isinstance(engine, ThinkingSettings):
        raise ConfigError(f"engine kind {engine.kind!r} has no chat template: leave --chat-template out")
    if engine.kind == "openai":
        raise ConfigError(_OWN_TEMPLATE)
    return engine.model_copy(update={"chat_template": template})


def _made(request: BenchmarkRequest, sampling: ResponsesConfig, settings: str) -> Answering:
    if sampling.temperature == 0 and sampling.per_prompt > 1:
        raise ConfigError(
            f"{sampling.per_prompt} greedy answers to a prompt are one and the same: give a --temperature above 0, or "
            "leave --samples out"
        )
    if sampling.temperature == 0 and request.top_p is not None:
        raise ConfigError("--top-p changes no greedy answer: give a --temperature above 0, or leave it out")
    if wrong := [k for k in request.pass_k if not 1 <= k <= sampling.per_prompt]:
        raise ConfigError(
            f"pass^{wrong[0]} cannot be told from {sampling.per_prompt} answers per item: give --samples {wrong[0]} or "
            "more, or a smaller --pass-k of at least 1"
        )
    sizes = tuple(sorted(set(request.pass_k))) or default_sizes(sampling.per_prompt)
    return Answering(sampling, request.system, sizes, settings)


def _said(sampling: ResponsesConfig, seed: int | None) -> dict[str, Any]:
    values = {name: getattr(sampling, name) for name in ("temperature", "top_p", "max_tokens")}
    return {**values, "samples": sampling.per_prompt, "seed": seed}


def _chat(request: BenchmarkRequest, engine: EngineConfig) -> dict[str, Any]:
    """The system text, and the settings of template and thoughts that this model does not usually have."""
    fields = set(ThinkingSettings.model_fields)
    usual = default_configuration(request.model, Home(request.home)).engine
    before = {**ThinkingSettings().model_dump(mode="json"), **usual.model_dump(mode="json", include=fields)}
    now = engine.model_dump(mode="json", include=fields)
    other = {name: value for name, value in now.items() if value != before[name]}
    if other.get("chat_template"):
        other["chat_template"] = template_name(other["chat_template"])
    return {"system": request.system or None, **other}
