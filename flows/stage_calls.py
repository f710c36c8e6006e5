"""How the flows run stages: one call built from a run, its inputs and the configuration values the stage reads."""

from pathlib import Path
from typing import Any

from flows.request import Run
from spar_core.config.base import FrozenConfig
from spar_core.errors import DataError
from spar_core.hashing import digest, file_digest
from spar_core.prompts import PromptLibrary
from spar_core.roles.requests import judge_wordings
from storage.artifacts import ArtifactRef
from tasks.calls import StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.judgements import SECOND_VOTER
from tasks.stages import Stage


class StageRunner:
    """Runs the stages of one run. Use it inside a flow."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._library = PromptLibrary.load(run.config.method.prompt_set)
        judge_wordings(self._library, run.config.method.judging.wordings)  # a set that lacks some is told at once

    def templates(self, *names: str) -> dict[str, str]:
        """What the prompt texts a stage reads say, as an entry of its configuration."""
        return {"templates": self._library.digest_of(*names)}

    def run(
        self,
        stage: Stage,
        iteration: int | None,
        inputs: dict[str, ArtifactRef] | None = None,
        models: dict[str, ModelRef] | None = None,
        config: dict[str, Any] | None = None,
        intervals: dict[str, int] | None = None,
        seed: int | None = None,
    ) -> ArtifactRef:
        """The stage's artifact, computed or found.

        Args:
            stage: what to run.
            iteration: the iteration it is entered under; null: none of them.
            inputs: artifacts it reads, by name.
            models: models it reads, by name.
            config: configuration values it reads; they enter its key.
            intervals: of checkpoints and logs of a training; they enter no key.
            seed: instead of the run's seed.
        """
        config_of_run, inputs = self._run.config, inputs or {}
        surroundings = Surroundings(
            engines=dict.fromkeys(("actor", "refiner", "scorer", SECOND_VOTER, "model"), config_of_run.engine),
            orchestration=config_of_run.orchestration,
            launch=config_of_run.training.launch,
            prompt_set=config_of_run.method.prompt_set,
            training_intervals=intervals or {},
        )
        call = StageCall(
            stage=stage.name,
            version=stage.version,
            home=str(self._run.home.root),
            run_id=self._run.run_id,
            iteration=iteration,
            seed=config_of_run.seed if seed is None else seed,
            inputs=inputs,
            models=models or {},
            config=config or {},
            surroundings=surroundings,
        )
        return stage.run(call, parts=stage.parts(inputs))


def plain(config: FrozenConfig) -> dict[str, Any]:
    """Plain JSON values of a configuration, as they enter stage keys."""
    return config.model_dump(mode="json")


def file_reference(path: Path | None) -> dict[str, ModelRef]:
    """A user's file as the models entry of a stage call; none without a path."""
    return {} if path is None else {"file": content_reference(path)}


def content_reference(place: Path | str) -> ModelRef:
    """A user's file or folder, identified by its bytes; a name on a hub by the name alone."""
    path = Path(place).expanduser()
    try:
        if path.is_dir():
            files = sorted(entry for entry in path.rglob("*") if entry.is_file())
            return ModelRef(digest([[str(f.relative_to(path)), file_digest(f)] for f in files]), str(path.absolute()))
        if path.exists():
            return ModelRef(file_digest(path), str(path.absolute()))
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}; check the path in the configuration"
        ) from error
    return ModelRef(digest(["named", str(place)]), str(place))
