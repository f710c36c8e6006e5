"""How the flows run stages: one call built from a run, its inputs and the configuration values the stage reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.wiring.request import Run
from spar_core.benchmarks import data_source
from spar_core.config.base import FrozenConfig
from spar_core.config.method import JudgingConfig
from spar_core.config.run import HealthConfig, RunConfig
from spar_core.config.training import SftTrainingConfig
from spar_core.data.given_source import DataSource, find_files
from spar_core.engines.configuration import EngineConfig, VllmEngineConfig
from spar_core.errors import ConfigError, DataError
from spar_core.evaluation.data_sources import find_data
from spar_core.hashing import digest, file_digest
from spar_core.prompts import PromptLibrary
from spar_core.records import ModelRole
from spar_core.roles.requests import judge_wordings
from storage.artifacts import ArtifactRef
from tasks.ahead import Ahead
from tasks.calls import FileRef, StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.judgements import SECOND_VOTER
from tasks.models import local_model
from tasks.stages import Stage
from tasks.training import REWARDS

_MODEL_ROLES: dict[str, ModelRole] = {
    **{"actor": "actor", "model": "actor"},
    **{"refiner": "refiner", SECOND_VOTER: "refiner", REWARDS: "refiner"},
}
"""Whose servers the roles in the stages have."""


class StageRunner:
    """Runs the stages of one run, be it self-play, a search or a benchmark. Use it inside a flow."""

    def __init__(
        self, run: Run, engines: Mapping[str, EngineConfig] | None = None, *, only_measures: bool = False
    ) -> None:
        """`engines`: what serves the models, by role; null: the run's engine serves them all, as in self-play, with
        the servers of their role.

        Only there the limits of `health` end a stage: a search, a benchmark, what `only_measures` shows what there is.
        """
        self._run = run
        self._engines = _engines_of(run.config) if engines is None else dict(engines)
        self._health = _health_of(run.config) if engines is None and not only_measures else None
        self._library = PromptLibrary.load(run.config.method.prompt_set)
        judge_wordings(self._library, run.config.method.judging.wordings)  # a set that lacks some is told at once
        if engines is None:
            _refuse_to_teach_failures(run.config, self._library)
            _refuse_to_teach_another_check(run.config, self._library)

    def serve(self, role: str, engine: EngineConfig) -> None:
        """From now on `engine` serves the models of a role, by the servers that the role has."""
        served = _MODEL_ROLES.get(role, "actor")
        self._engines[role] = engine.for_role(served) if isinstance(engine, VllmEngineConfig) else engine

    def templates(self, *names: str) -> dict[str, str]:
        """What the prompt texts a stage reads say, as an entry of its configuration."""
        return {"templates": self._library.digest_of(*names)}

    def read_by_judges(self, prompts: ArtifactRef, judging: JudgingConfig) -> dict[str, ArtifactRef]:
        """The prompts as an input of a search, where their constraints are read: an anchor decides some, or each is
        asked about. Else no stage of the search can know them.
        """
        read = judging.reads_rules or self._library.format.judge == "per_constraint"
        return {"prompts": prompts} if read else {}

    def run(
        self,
        stage: Stage,
        iteration: int | None,
        inputs: Mapping[str, ArtifactRef] | None = None,
        models: Mapping[str, ModelRef] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        files: Mapping[str, FileRef] | None = None,
        intervals: Mapping[str, float | None] | None = None,
        seed: int | None = None,
    ) -> ArtifactRef:
        """The stage's artifact, computed or found.

        Args:
            stage: what to run.
            iteration: the iteration it is entered under; null outside of iterations.
            inputs: artifacts it reads, by name.
            models: models it asks, by role.
            config: configuration values it reads; they enter its key.
            files: users' files and data sets it reads, by name.
            intervals: of checkpoints and logs of a training; they enter no key.
            seed: instead of the run's seed.
        """
        return self.made(
            stage, self.call(stage, iteration, inputs, models, config, files=files, intervals=intervals, seed=seed)
        )

    def call(
        self,
        stage: Stage,
        iteration: int | None,
        inputs: Mapping[str, ArtifactRef] | None = None,
        models: Mapping[str, ModelRef] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        files: Mapping[str, FileRef] | None = None,
        intervals: Mapping[str, float | None] | None = None,
        seed: int | None = None,
    ) -> StageCall:
        """What `run` would run, which has the artifact's key. Takes the arguments of `run`."""
        config_of_run, inputs, models = self._run.config, inputs or {}, models or {}
        return StageCall(
            stage=stage.name,
            version=stage.version,
            home=str(self._run.home.root),
            run_id=self._run.run_id,
            iteration=iteration,
            seed=config_of_run.seed if seed is None else seed,
            inputs=dict(inputs),
            models=models,
            files=files or {},
            engines={role: engine for role, engine in self._engines.items() if role in models},
            config=config or {},
            data_digest=stage.data_digest(),
            surroundings=Surroundings(
                orchestration=config_of_run.orchestration,
                launch=config_of_run.training.launch,
                prompt_set=config_of_run.method.prompt_set,
                training_intervals=intervals or {},
                budget=config_of_run.budget,
                health=self._health,
                scale=config_of_run.scale,
            ),
        )

    def made(
        self, stage: Stage, call: StageCall, *, then: Ahead | None = None, ahead: Ahead | None = None
    ) -> ArtifactRef:
        """What a call comes to: it is run or found. A plan only looks (`flows.planning.walk`).

        `then` and `ahead` as in `Stage.run`.
        """
        return stage.run(call, then=then, ahead=ahead)

    def tokens_of(self, artifact: ArtifactRef) -> float:
        """Completion tokens that a stage's models wrote."""
        return artifact.manifest().metrics.get("completion_tokens", 0.0)

    def trained_model(self, artifact: ArtifactRef) -> ModelRef:
        """The model of a training's artifact."""
        return local_model(artifact.model_folder, self._run.home)

    def benchmark_data(self, name: str) -> FileRef:
        """The data of a benchmark, as `spar eval` would read them; what it would fetch is fetched.

        Raises:
            DataError: they are neither on this machine nor on the hub; the message says what to give.
        """
        return file_ref(find_data(name, data_source(name)))

    def beside(self) -> "StageRunner":
        """Another runner for the same run, whose roles may be served by other models."""
        return StageRunner(self._run)


def _engines_of(config: RunConfig) -> dict[str, EngineConfig]:
    """What serves the models of a run, by their role in the stages."""
    roles = {**_MODEL_ROLES, "scorer": config.method.pairs.scorer}
    return {name: config.engine_of(role) for name, role in roles.items()}


def _health_of(config: RunConfig) -> HealthConfig:
    """The limits of self-play; those on votes do not hold where votes decide nothing and are asked to measure alone."""
    if config.method.judging.asks_votes:
        return config.health
    return config.health.model_copy(update={"max_unreadable_votes": 1.0})


def _refuse_to_teach_failures(config: RunConfig, library: PromptLibrary) -> None:
    """See that no training learns every turn of chats that hold a failing answer as the model's own.

    Raises:
        ConfigError: one does.
    """
    if library.format.refine != "chat":
        return
    wrong = [
        name
        for name, training in config.trainings().items()
        if "refiner" in name and isinstance(training, SftTrainingConfig) and training.loss_turns == "all"
    ]
    if wrong:
        raise ConfigError(
            f"prompt set {library.name!r} asks for rewrites in a chat that holds the failing answer as the model's own "
            "turn, and loss_turns=all would teach it: set "
            + " and ".join(f"training.{name}.loss_turns=last" for name in wrong)
        )


def _refuse_to_teach_another_check(config: RunConfig, library: PromptLibrary) -> None:
    """See that no warm start teaches checks of the whole to a refiner that is asked about each constraint.

    Raises:
        ConfigError: one does.
    """
    warm = config.warm_start
    if library.format.judge == "per_constraint" and warm.source in ("starter", "rules") and warm.refiner_examples:
        raise ConfigError(
            f"prompt set {library.name!r} asks about each constraint on its own, and warm_start.source={warm.source} "
            "teaches checks of whole answers: set warm_start.source to teacher, file or none, or "
            "warm_start.refiner_examples=0"
        )


def plain(config: FrozenConfig) -> dict[str, Any]:
    """Plain JSON values of a configuration, as they enter stage keys."""
    return config.model_dump(mode="json")


def file_ref(place: Path | str) -> FileRef:
    """A user's file or folder, identified by its bytes; a name on a hub by the name alone.

    Raises:
        DataError: it cannot be read.
    """
    path = Path(place).expanduser()
    try:
        if path.is_dir():
            files = sorted(entry for entry in path.rglob("*") if entry.is_file())
            return FileRef(digest([[str(f.relative_to(path)), file_digest(f)] for f in files]), str(path.absolute()))
        if path.exists():
            return FileRef(file_digest(path), str(path.absolute()))
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}; check the path in the configuration"
        ) from error
    return FileRef(digest(["named", str(place)]), str(place))


def data_ref(source: str | Path) -> FileRef:
    """Training data or prompts (see `spar_core.data.given_source`): files by their bytes, a hub's data set by its name.

    What is taken of them counts as well.

    Raises:
        DataError: they are not there, or cannot be read.
    """
    parsed = DataSource.parse(source)
    if not parsed.path.is_dir():
        found = file_ref(parsed.place)
    else:
        try:
            content = digest([[file.short, file_digest(file.path)] for file in find_files(parsed).files])
        except OSError as error:
            raise DataError(f"cannot read {parsed.place}: {error.strerror or error}") from error
        found = FileRef(content, parsed.place)
    known = digest([found.digest, parsed.options]) if parsed.options else found.digest
    return FileRef(known, parsed.written())
