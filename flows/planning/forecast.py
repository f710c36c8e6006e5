"""How much work a stage will be and how long it takes: measured where earlier runs tell, else given or assumed."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from flows.wiring.prompting import EVOLVER
from spar_core.config.run import RunConfig
from spar_core.config.training import DpoTrainingConfig, OptimisationConfig
from spar_core.planning.assumptions import Assumptions
from spar_core.planning.calibration import Observed, calibrated
from spar_core.planning.facts import Facts, Rows
from spar_core.planning.hardware import Hardware, Serving
from spar_core.planning.shapes import ModelShape
from spar_core.planning.stage_work import TRAININGS, Work, work_of
from spar_core.planning.timing import GivenRates, Replicas, training_seconds, writing_seconds
from spar_core.planning.training_memory import TrainingLoad

Basis = Literal["measured", "given", "assumed", "unknown", "elsewhere"]
"""Where seconds come from; `elsewhere`: the time of servers that somebody else runs is not estimated."""
TEACHER: Final = "teacher"
_ROW_S: Final = 0.002  # of a stage that asks no model, per row
_LEAST_S: Final = 1.0


class Sources(NamedTuple):
    """Where figures come from. `observed`: finished stages of earlier runs, by stage; `rates`: as somebody stated."""

    assumed: Assumptions
    rates: GivenRates
    observed: Mapping[str, Sequence[Observed]]


class Party(NamedTuple):
    """One model of a run: its shape, how it is served and on how many processors it is trained."""

    shape: ModelShape
    serving: Serving | None
    processors: int


class Forecast(NamedTuple):
    """A stage's work and seconds, and where the seconds come from."""

    work: Work
    seconds: float
    basis: Basis


class Forecaster:
    """Forecasts the stages of one run in their order: a model that is loaded already is not loaded again."""

    def __init__(
        self, config: RunConfig, parties: Mapping[str, Party | None], hardware: Hardware, sources: Sources
    ) -> None:
        """`parties`: actor, refiner, and who else is asked (`teacher`, `evolver`); null: a server of somebody else."""
        self._config = config
        self._parties = parties
        self._hardware = hardware
        self._sources = sources
        self._loaded: frozenset[str] = frozenset()

    def of(self, stage: str, given: Rows, models: Mapping[str, str]) -> Forecast:
        """The forecast of a stage. `models`: the digests of those it asks or trains, by role in the stage."""
        expected = work_of(stage, Facts(self._config, self._sources.assumed, given))
        if expected is None:
            return Forecast(Work("compute", sum(given.values()), {}), 0.0, "unknown")
        measured = calibrated(expected, self._sources.observed.get(stage, ()))
        if measured is not None:
            return Forecast(measured.work, measured.seconds, "measured")
        if expected.kind == "compute":
            return Forecast(expected, _LEAST_S + _ROW_S * expected.rows, "assumed")
        who = self._who(stage, models)
        party = self._parties[who]
        if party is None:
            return Forecast(expected, 0.0, "elsewhere")
        if expected.kind == "train":
            self._loaded = frozenset()
            return self._trained(stage, expected, party)
        wanted = frozenset(models.values())
        stays = wanted <= self._loaded if self._side_by_side() else wanted == self._loaded
        start = 0.0 if stays else self._start_s(who)
        beside = self._loaded | wanted
        self._loaded = beside if self._side_by_side() and len(beside) <= 2 else wanted
        return self._written(expected, party, start)

    def _start_s(self, who: str) -> float:
        assumed = self._sources.assumed
        engine = self._config.engine_of("refiner" if who == "refiner" else "actor")
        return assumed.in_process_start_s if engine.kind == "transformers" else assumed.engine_start_s

    def _side_by_side(self) -> bool:
        return self._config.orchestration.placement == "side_by_side"

    def _who(self, stage: str, models: Mapping[str, str]) -> str:
        if stage.endswith(f"-{TEACHER}"):
            return TEACHER
        if EVOLVER in models:
            return EVOLVER
        if "scorer" in models:
            return self._config.method.pairs.scorer
        return "actor" if "actor" in models or stage.endswith("actor") else "refiner"

    def _written(self, work: Work, party: Party, start: float) -> Forecast:
        rates, serving = self._sources.rates, party.serving
        if serving is None:
            return Forecast(work, 0.0, "unknown")
        replicas = Replicas(serving.replicas, serving.split, min(serving.asked, serving.memory.sequences))
        if not self._hardware.device.is_gpu:  # servers on one CPU are as fast together as one of them alone
            replicas = Replicas(1, 1, replicas.sequences * replicas.number)
        gpus = replicas.number * replicas.split
        if rates.written is not None:
            read = work.read / (rates.read * gpus) if rates.read is not None else 0.0
            return Forecast(work, start + read + work.written / (rates.written * gpus), "given")
        tokens, assumed = (work.read, work.written), self._sources.assumed
        seconds = writing_seconds(party.shape, self._hardware.device, replicas, tokens, assumed)
        return Forecast(work, start + seconds, "assumed")

    def _trained(self, stage: str, work: Work, party: Party) -> Forecast:
        assumed, rates = self._sources.assumed, self._sources.rates
        start = assumed.training_start_s if self._hardware.device.is_gpu else assumed.cpu_training_start_s
        if rates.trained is not None:
            return Forecast(work, start + work.read / (rates.trained * party.processors), "given")
        config = training_of(self._config, stage)
        bf16 = self._hardware.device.trains_in_bf16(party.shape.weights)
        load = TrainingLoad.of(config, self._config.training.launch, usual_bf16=bf16)
        seconds = training_seconds(
            party.shape,
            self._hardware.device,
            load,
            work.read,
            party.processors,
            assumed,
            epochs=config.epochs,
            reference=isinstance(config, DpoTrainingConfig),
        )
        if work.written:  # its answers are drawn in between
            seconds += self._written(work, party, 0.0).seconds
        return Forecast(work, start + seconds, "assumed")


def training_of(config: RunConfig, stage: str) -> OptimisationConfig:
    """The settings of a training stage."""
    if stage == "train_refiner" and config.refiner_learns_by() == "dpo":
        return config.training.judge_training()
    settings: OptimisationConfig = getattr(config.training, TRAININGS[stage])
    return settings
