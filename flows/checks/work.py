"""What is about to be done, as far as checks care: models, files, benchmarks, and the configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from flows.wiring.models import default_configuration
from flows.wiring.request import Run
from spar_core.config.loading import load_config
from spar_core.config.prompts import PromptsConfig
from spar_core.config.run import EvaluationConfig, RunConfig
from spar_core.config.warm_start import WarmStartConfig
from spar_core.engines.configuration import TransformersEngineConfig
from spar_core.engines.model_reference import is_registered
from spar_core.errors import SparError
from spar_core.records import ModelRole
from storage.home import Home
from storage.ledger import Ledger


class GivenData(NamedTuple):
    """Training data that a user gives: for which role, as pairs or as examples."""

    source: str
    role: ModelRole
    pairs: bool
    skip_bad: bool


@dataclass(frozen=True, slots=True)
class Work:
    """A command's work. `models` are references by role; `trains`: whether models are trained and registered."""

    home: Home
    config: RunConfig
    models: dict[str, str]
    trains: bool = False
    asked: dict[str, str] = field(default_factory=dict)
    """Models that only give data before anything trains, by role: a teacher, who evolves prompts."""
    prompts: str | None = None
    """File or data set of prompts; null: none is read."""
    skip_bad: bool = False
    """Whether broken rows of it are dropped."""
    benchmarks: tuple[str, ...] = ()
    data_dir: Path | None = None
    """Folder of the benchmarks' data; null: `$SPAR_DATA_DIR`, else earlier downloads."""
    own_prompts: bool = False
    """Whether the benchmark's prompts come from `prompts`."""
    given: GivenData | None = None
    """Training data beside those of the configuration."""


def of_run(run: Run) -> Work:
    """The work of self-play."""
    config = run.config
    models = {"actor": config.models.actor, "refiner": config.models.refiner or config.models.actor}
    second = config.method.judging.second_voter
    if second not in (None, "first"):
        models["second voter"] = str(second)
    prompts = config.prompts.path if config.prompts.source != "starter" else None
    benchmarks = ("ability",) if config.promotion.ability_margin is not None else ()
    return Work(
        run.home,
        config,
        models,
        trains=True,
        asked=_still_asked(run),
        prompts=prompts,
        skip_bad=config.prompts.skip_bad,
        benchmarks=benchmarks,
    )


def _still_asked(run: Run) -> dict[str, str]:
    """The teacher and who evolves prompts, unless the run has all it wanted of them."""
    config, ledger = run.config, Ledger(run.home)
    done = {(stage.stage, stage.iteration) for stage in ledger.stages(run.run_id) if stage.state == "completed"}
    asked = {}
    warm = config.warm_start
    taught = {("warm_start_examples_actor", 0): warm.actor_examples}
    taught |= {("warm_start_examples_refiner", 0): warm.refiner_examples}
    if warm.teacher is not None and not {place for place, count in taught.items() if count} <= done:
        asked["teacher"] = warm.teacher
    evolved = {("prompts", number) for number in range(1, config.iterations + 1)}
    if config.prompts.evolver is not None and not evolved <= done:
        asked["evolver"] = config.prompts.evolver
    return asked


def of_training(home: Home, config: RunConfig, model: str | None, given: GivenData) -> Work:
    """The work of one training on given data: of the configuration, what serves and measures models is not used."""
    used = RunConfig(
        training=config.training,
        method=config.method,
        engine=TransformersEngineConfig(),
        prompts=PromptsConfig(per_iteration=1),
        warm_start=WarmStartConfig(source="none"),
        evaluation=EvaluationConfig(enabled=False),
        iterations=0,
    )
    return Work(home, used, {given.role: model or config.models.of(given.role)}, trains=True, given=given)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a command was given to choose a configuration by; nothing: the one that suits a model."""

    preset: str | None
    config_file: Path | str | None
    overrides: tuple[str, ...]

    def configuration(self, suits: str, home: Home) -> RunConfig:
        """The configuration, as the flows will find it; where that fails for the model's sake, the defaults."""
        if self.preset is not None or self.config_file is not None:
            return load_config(self.preset, Path(self.config_file) if self.config_file else None, self.overrides)
        if is_registered(suits) and not Ledger(home).models():
            return load_config(base=RunConfig(), overrides=self.overrides)
        try:
            base = default_configuration(suits, home)
        except SparError:
            base = RunConfig()
        return load_config(base=base, overrides=self.overrides)


def named_models(**references: str | None) -> dict[str, str]:
    """The models a command was given, by role."""
    return {role: reference for role, reference in references.items() if reference is not None}
