"""Whether a run's trainings and servers fit into memory, and what would where they do not."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from flows.planning.forecast import training_of
from spar_core.config.launch import LaunchConfig
from spar_core.config.run import RunConfig
from spar_core.config.training import DpoTrainingConfig, uneven_batch
from spar_core.engines.configuration import EngineConfig
from spar_core.engines.model_reference import is_server
from spar_core.planning.devices import GIB
from spar_core.planning.hardware import Hardware, Serving, serving
from spar_core.planning.remedies import splits_that_fit, training_remedies
from spar_core.planning.shapes import ModelShape
from spar_core.planning.stage_work import TRAININGS
from spar_core.planning.training_memory import TrainingLoad, TrainingMemory, training_memory
from spar_core.records import ModelRole


class TrainingFit(NamedTuple):
    """What one training needs of each processor's memory."""

    stage: str
    memory: TrainingMemory
    processors: int
    fits: bool
    precision: Literal["fp32", "bf16"]

    def plain(self, limit: float) -> dict[str, Any]:
        """GiB, JSON-like."""
        parts = {f"{name}_gib": round(size / GIB, 2) for name, size in self.memory._asdict().items()}
        total = {"total_gib": round(self.memory.total / GIB, 2), "of_gib": round(limit / GIB, 2)}
        return {"stage": self.stage, "processors": self.processors, **parts, **total, "fits": self.fits}


class ServingFit(NamedTuple):
    """What serving a role's model needs, and how much it answers at once; `served` null: too few GPUs."""

    role: ModelRole
    served: Serving | None
    longest: int
    fits: bool

    def plain(self) -> dict[str, Any]:
        """GiB, JSON-like."""
        if self.served is None:
            return {"role": self.role, "fits": False}
        memory = self.served.memory
        return {
            "role": self.role,
            "replicas": self.served.replicas,
            "split": self.served.split,
            "weights_gib": round(memory.weights / GIB, 2),
            "cache_gib": round(memory.cache / GIB, 2),
            "cache_tokens": memory.cache_tokens,
            "sequences": round(memory.sequences),
            "fits": self.fits,
        }


class Fit(NamedTuple):
    """All trainings and servers of a run; `problems` say what does not fit, each with what would."""

    trainings: tuple[TrainingFit, ...]
    servers: tuple[ServingFit, ...]
    problems: tuple[str, ...]


def launched(launch: LaunchConfig, hardware: Hardware, *, chosen: bool) -> LaunchConfig:
    """How trainings are launched: as configured, or on the GPUs that the plan was asked for."""
    if not chosen or not hardware.device.is_gpu or launch.accelerate_config is not None:
        return launch
    return launch.model_copy(update={"processes": hardware.per_node, "nodes": hardware.nodes})


def check_fit(
    config: RunConfig, shapes: Mapping[ModelRole, ModelShape], hardware: Hardware, stages: Iterable[str], tokens: int
) -> Fit:
    """What every training among `stages` and both models' servers need; `tokens`: of a usual sequence."""
    problems: list[str] = []
    trainings = []
    for stage in dict.fromkeys(stage for stage in stages if stage in TRAININGS):
        role: ModelRole = "actor" if stage.endswith("actor") else "refiner"
        trainings.append(_training(config, shapes[role], hardware, stage, problems))
    servers = []
    for role, shape in shapes.items():
        servers.append(_server(config.engine_of(role), shape, hardware, role, tokens, _together(config), problems))
    return Fit(tuple(trainings), tuple(servers), tuple(dict.fromkeys(problems)))


def _together(config: RunConfig) -> int:
    """Models loaded side by side: a second voter whose weights are here stands beside the refiner."""
    second = config.method.judging.second_voter
    apart = config.orchestration.placement == "side_by_side"
    return 2 if apart or (second is not None and not is_server(second)) else 1


def _training(config: RunConfig, shape: ModelShape, hardware: Hardware, stage: str, problems: list[str]) -> TrainingFit:
    settings, launch = training_of(config, stage), config.training.launch
    load = TrainingLoad.of(settings, launch, usual_bf16=hardware.device.trains_in_bf16(shape.weights))
    memory = training_memory(shape, load, launch.world)
    limit = hardware.device.memory
    if not hardware.device.is_gpu:  # the weights lie in the machine's memory once, for every process
        limit /= launch.per_machine
    fits = memory.total <= limit
    name = TRAININGS[stage]
    if not fits:
        least = 2 if isinstance(settings, DpoTrainingConfig) else 1
        found = training_remedies(shape, load, hardware._replace(number=launch.world), name, least=least)
        would = "".join(f"\n    - {remedy.shown()}" for remedy in found) or "\n    - a smaller model"
        problems.append(
            f"{stage} needs {memory.total / GIB:.1f} GiB per GPU and {limit / GIB:.0f} are there. What fits:{would}"
        )
    if (uneven := uneven_batch(settings, launch.world)) is not None:
        problems.append(f"training.{name}.{uneven}, or take fewer GPUs")
    return TrainingFit(stage, memory, launch.world, fits, load.precision)


def _server(
    engine: EngineConfig,
    shape: ModelShape,
    hardware: Hardware,
    role: ModelRole,
    tokens: int,
    models: int,
    problems: list[str],
) -> ServingFit:
    served = serving(shape, engine, hardware, tokens=tokens, models=models)
    longest = getattr(engine, "max_model_len", None) or shape.context or tokens
    needed = longest if engine.kind == "vllm" else tokens
    fits = served is not None and served.memory.cache_tokens >= needed
    if fits:
        return ServingFit(role, served, longest, fits)
    if served is None:
        found = f"engine.tensor_parallel needs more GPUs than the {hardware.per_node} of a machine"
    else:
        found = (
            f"its weights take {served.memory.weights / GIB:.1f} GiB per GPU, which leaves room for "
            f"{served.memory.cache_tokens:,} tokens of keys and values, and the longest text has {needed:,}"
        )
    problems.append(f"serving the {role}: {found}. What fits: {_servers_that_fit(engine, shape, hardware, tokens)}")
    return ServingFit(role, served, longest, fits)


def _servers_that_fit(engine: EngineConfig, shape: ModelShape, hardware: Hardware, tokens: int) -> str:
    if engine.kind != "vllm":
        return "engine.kind=vllm with engine.tensor_parallel, a GPU with more memory, or a smaller model"

    def fits(split: int, longest: int) -> bool:
        tried = engine.model_copy(update={"tensor_parallel": split, "replicas": "auto"})
        found = serving(shape, tried, hardware, tokens=tokens)
        return found is not None and found.memory.cache_tokens >= longest

    if not hardware.device.is_gpu:
        return "fewer engine.replicas, a lower engine.max_model_len, or a smaller model"
    longest = engine.max_model_len or shape.context
    whole = splits_that_fit(lambda split: fits(split, longest), hardware.per_node)
    if whole is not None:
        return f"engine.tensor_parallel={whole}"
    short = splits_that_fit(lambda split: fits(split, 2 * tokens), hardware.per_node)
    if short is not None:
        return f"engine.tensor_parallel={short} with engine.max_model_len={2 * tokens}"
    return "more or larger GPUs, or a model with fewer or quantised weights"
