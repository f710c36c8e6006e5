"""The plan of a run: its stages, what they take and cost, and whether it fits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from flows.planning.fit import Fit, check_fit, launched
from flows.planning.forecast import TEACHER, Forecaster, Party, Sources
from flows.planning.models import shape_of
from flows.planning.observed import observed
from flows.planning.walk import Step, walk
from flows.wiring.prompting import EVOLVER
from flows.wiring.request import Run
from spar_core.config.run import RunConfig
from spar_core.config.training import OptimisationConfig, TrainingConfig
from spar_core.engines.model_reference import is_server
from spar_core.engines.placement import visible_gpus
from spar_core.errors import ConfigError
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.devices import CPU, GIB, gpu_named, this_cpu
from spar_core.planning.facts import Facts
from spar_core.planning.hardware import Hardware, serving
from spar_core.planning.known_models import USUAL
from spar_core.planning.shapes import ModelShape
from spar_core.planning.stage_work import TRAININGS
from spar_core.planning.timing import GivenRates
from spar_core.processors import cpu_flags, usable_cores
from spar_core.records import ModelRole
from storage.home import Home

_HOUR_S = 3600.0
_SOME_SERVER = "http://teacher/v1"  # where none is named yet
_TEXT_BYTES = 4.0  # on disk per token that is written: compressed rows, votes and their journal
_KEPT_CHECKPOINTS = 2


class PlanOptions(NamedTuple):
    """What a plan is asked for, beyond the run. Nulls: as this machine is, as the configuration says.

    `gpus`, `gpu_memory` (GiB of each), `device`: the hardware. `rates`: a file of rates, or the home of an earlier run.
    `assume`: `name=number` in place of assumptions.
    """

    gpus: int | None = None
    gpu_memory: float | None = None
    device: str | None = None
    price: float | None = None
    rates: Path | None = None
    assume: tuple[str, ...] = ()


class Disk(NamedTuple):
    """Bytes a run leaves in its home, and those of unfinished trainings meanwhile."""

    models: float
    texts: float
    checkpoints: float

    @property
    def peak(self) -> float:
        """Most at any time."""
        return self.models + self.texts + self.checkpoints


class Plan(NamedTuple):
    """What `spar plan` shows. `settings`: what the configuration must be set to for the hardware that was asked for."""

    run: Run
    steps: tuple[Step, ...]
    fit: Fit
    hardware: Hardware
    disk: Disk
    settings: tuple[str, ...]
    assumed: Assumptions
    price: float | None
    shapes: Mapping[ModelRole, ModelShape]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(step.forecast.seconds for step in self.steps)

    @property
    def gpu_hours(self) -> float:
        """Hours times the GPUs that the run holds, busy or not; 0 on a CPU."""
        return self.hours_of(self.seconds) if self.hardware.device.is_gpu else 0.0

    @property
    def host(self) -> float:
        """Bytes of the machines' memory that the largest training needs, over all of them."""
        return max((training.memory.host for training in self.fit.trainings), default=0.0)

    def hours_of(self, seconds: float) -> float:
        """GPU hours of so many seconds; hours on a CPU."""
        return seconds / _HOUR_S * (self.hardware.number if self.hardware.device.is_gpu else 1)

    def cost(self, seconds: float) -> float | None:
        """Price of so many seconds."""
        return None if self.price is None or not self.hardware.device.is_gpu else self.hours_of(seconds) * self.price


def make_plan(run: Run, options: PlanOptions) -> Plan:
    """Look at a run that has not started, or not ended: nothing is run, written or asked of a network.

    Raises:
        ConfigError: an option or a model's shape is not known.
    """
    assumed = Assumptions.with_values(options.assume, USUAL.get(run.config.models.actor))
    hardware = _hardware(run.config, options)
    launch = launched(run.config.training.launch, hardware, chosen=options.gpus is not None)
    smaller = _smaller_passes(run.config.training, launch.world) if options.gpus is not None else {}
    training, warm = run.config.training.model_copy(update={"launch": launch, **smaller}), run.config.warm_start
    if warm.source == "teacher" and warm.teacher is None:
        warm = warm.model_copy(update={"teacher": _SOME_SERVER})
    config = run.config.model_copy(update={"training": training, "warm_start": warm})
    shapes = _shapes(run)
    tokens = round(_usual_tokens(config, assumed))
    sources = _sources(run, options, assumed)
    others = _asked_beside(config)
    shaped: dict[str, ModelShape | None] = {str(role): shape for role, shape in shapes.items()}
    shaped |= {who: _shape_here(reference, run.home) for who, reference in others.items()}
    engines = {who: config.engine_of("refiner" if who == "refiner" else "actor") for who in shaped}
    parties = {
        who: None
        if shape is None
        else Party(shape, serving(shape, engines[who], hardware, tokens=tokens), launch.world)
        for who, shape in shaped.items()
    }
    steps = tuple(walk(Run(run.home, run.run_id, config), Forecaster(config, parties, hardware, sources)))
    fit = check_fit(config, shapes, hardware, (step.stage for step in steps), tokens)
    price = run.config.budget.price_per_gpu_hour if options.price is None else options.price
    disk = _disk(run.config, shapes, steps, fit)
    settings = _settings(run, hardware, options)
    settings += tuple(f"training.{name}.micro_batch_size={it.micro_batch_size}" for name, it in smaller.items())
    return Plan(run, steps, fit, hardware, disk, settings, assumed, price, shapes)


def _smaller_passes(training: TrainingConfig, world: int) -> dict[str, OptimisationConfig]:
    """Trainings whose `micro_batch_size` is more than a step has for each of `world` processes, with what fits."""
    found: dict[str, OptimisationConfig] = {}
    for name in TRAININGS.values():
        settings = getattr(training, name)
        share, left_over = divmod(settings.batch_size, world)
        if left_over == 0 and share % settings.micro_batch_size:
            fits = max(rows for rows in range(1, settings.micro_batch_size) if share % rows == 0)
            found[name] = settings.model_copy(update={"micro_batch_size": fits})
    return found


def _is_named(options: PlanOptions) -> bool:
    """Whether the options name the hardware."""
    return options.gpus is not None or options.gpu_memory is not None or options.device is not None


def _hardware(config: RunConfig, options: PlanOptions) -> Hardware:
    """What the options name; else this machine's GPUs, else those that the configuration asks for, else its CPU.

    Raises:
        ConfigError: no such device, or GPUs together with the CPU.
    """
    if options.device == CPU and (options.gpus is not None or options.gpu_memory is not None):
        raise ConfigError("--device cpu is the CPU of this machine: leave --gpus and --gpu-memory out")
    here = [] if getattr(config.engine, "device", "auto") == "cpu" else visible_gpus()
    launch = config.training.launch
    nothing = not _is_named(options) and not here and launch.world == 1 and config.engine.kind != "vllm"
    if nothing or options.device == CPU:
        return Hardware(this_cpu(usable_cores(), float(psutil.virtual_memory().total), cpu_flags()), 1)
    count = options.gpus or (len(here) * launch.nodes if here else launch.world)
    memory = options.gpu_memory * GIB if options.gpu_memory is not None else None
    if memory is None and here and options.device is None:
        memory = float(min(gpu.total for gpu in here))
    assumed = memory is None and options.device is None
    return Hardware(gpu_named(options.device, memory), count, assumed)


def _shapes(run: Run) -> dict[ModelRole, ModelShape]:
    models = run.config.models
    return {
        "actor": shape_of(models.actor, run.home),
        "refiner": shape_of(models.refiner or models.actor, run.home),
    }


def _asked_beside(config: RunConfig) -> dict[str, str]:
    """Who is asked but actor and refiner, and what the configuration calls them."""
    evolver = config.prompts.evolver or config.models.actor
    asked = {EVOLVER: evolver} if config.prompts.source == "taxonomy" else {}
    warm = config.warm_start
    return asked | ({TEACHER: str(warm.teacher)} if warm.source == "teacher" or warm.teacher is not None else {})


def _shape_here(reference: str, home: Home) -> ModelShape | None:
    """The shape of a model that is served here; None for a server's, whose time is not this machine's."""
    return None if is_server(reference) else shape_of(reference, home)


def _usual_tokens(config: RunConfig, assumed: Assumptions) -> float:
    """Of a sequence while a model writes: a request for a vote, and half of the vote."""
    facts = Facts(config, assumed, {})
    return facts.to_judge + facts.critique / 2


def _sources(run: Run, options: PlanOptions, assumed: Assumptions) -> Sources:
    rates = options.rates
    if rates is not None and not rates.exists():
        raise ConfigError(f"--rates {rates} does not exist; give a YAML file of rates, or the home of an earlier run")
    if rates is not None and rates.is_file():
        return Sources(assumed, GivenRates.of_file(rates), {})
    if rates is not None:
        found = observed(Home(rates), run.config, assumed)
        if not found:
            raise ConfigError(
                f"--rates {rates} holds no finished stage of a run with models.actor={run.config.models.actor} and "
                f"engine.kind={run.config.engine.kind}"
            )
        return Sources(assumed, GivenRates(), found)
    # What this home took holds for this machine, not for another that is asked about.
    elsewhere = _is_named(options) and options.device != CPU
    return Sources(assumed, GivenRates(), {} if elsewhere else observed(run.home, run.config, assumed))


def _disk(config: RunConfig, shapes: Mapping[ModelRole, ModelShape], steps: tuple[Step, ...], fit: Fit) -> Disk:
    made = [step.stage for step in steps if step.stage in TRAININGS and step.state == "compute"]
    models = 0.0
    for stage in made:
        shape = shapes["actor" if stage.endswith("actor") else "refiner"]
        masters = 4 if getattr(config.training, TRAININGS[stage]).keep_masters else 0
        models += shape.parameters * (shape.stored_bytes + masters)
    kept = (step for step in steps if step.state == "compute" and step.stage not in TRAININGS)
    texts = sum(step.forecast.work.written for step in kept) * _TEXT_BYTES
    largest = max((entry.memory.checkpoint for entry in fit.trainings if entry.stage in made), default=0.0)
    return Disk(models, texts, _KEPT_CHECKPOINTS * largest)


def _settings(run: Run, hardware: Hardware, options: PlanOptions) -> tuple[str, ...]:
    """What the configuration says otherwise than the hardware that was asked for."""
    launch = run.config.training.launch
    if options.gpus is None or launch.accelerate_config is not None:
        return ()
    settings = []
    if launch.per_machine != hardware.per_node:
        settings.append(f"training.launch.processes={hardware.per_node}")
    if launch.nodes != hardware.nodes:
        settings.append(f"training.launch.nodes={hardware.nodes}")
    if hardware.nodes > 1 and launch.rendezvous is None:
        settings.append("training.launch.rendezvous=HOST:29500")
    return tuple(settings)


def plain(plan: Plan) -> dict[str, Any]:
    """The plan as JSON-like values."""
    limit = plan.hardware.device.memory
    stages = [
        {
            "iteration": step.iteration,
            "stage": step.stage,
            "state": step.state,
            "rows": step.forecast.work.rows,
            "tokens_read": round(step.forecast.work.read),
            "tokens_written": round(step.forecast.work.written),
            "seconds": round(step.forecast.seconds, 1),
            "basis": step.forecast.basis,
            "price": plan.cost(step.forecast.seconds),
        }
        for step in plan.steps
    ]
    return {
        "run_id": plan.run.run_id,
        "home": str(plan.run.home.root),
        "hardware": {
            "device": plan.hardware.device.name,
            "count": plan.hardware.number,
            "memory_gib": round(limit / GIB, 2),
            "assumed": plan.hardware.assumed,
        },
        "parameters": {role: shape.parameters for role, shape in plan.shapes.items()},
        "stages": stages,
        "seconds": round(plan.seconds, 1),
        "gpu_hours": round(plan.gpu_hours, 3),
        "price": plan.cost(plan.seconds),
        "training": [training.plain(limit) for training in plan.fit.trainings],
        "serving": [server.plain() for server in plan.fit.servers],
        "host_gib": round(plan.host / GIB, 1),
        "disk_gib": {name: round(size / GIB, 2) for name, size in plan.disk._asdict().items()},
        "settings": list(plan.settings),
        "assumptions": plan.assumed._asdict(),
        "fits": not plan.fit.problems,
        "problems": list(plan.fit.problems),
    }
