"""What a stage is called with, and the key that follows from it: content only, never paths, names or time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spar_core.config.budget import BudgetConfig
from spar_core.config.launch import LaunchConfig
from spar_core.config.run import HealthConfig, OrchestrationConfig
from spar_core.config.scale import ScaleConfig
from spar_core.engines.configuration import EngineConfig
from spar_core.hashing import digest
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef

ENGINES_VERSION = 2
"""Of the code that asks models: raise it when equal settings and requests get other answers."""


class FileRef(NamedTuple):
    """A user's file, folder or data set by content: `digest` identifies it, `location` only finds it."""

    digest: str
    location: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where and how stages run; changes no result.

    `prompt_set` says where the prompt texts lie; what they say is in the configuration, by digest.
    """

    orchestration: OrchestrationConfig = field(default_factory=OrchestrationConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    prompt_set: str = "default"
    training_intervals: Mapping[str, float | None] = field(default_factory=dict)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    health: HealthConfig | None = None
    """When what the models write is too little use to go on; null where only measuring is asked for."""
    scale: ScaleConfig = field(default_factory=ScaleConfig)


@dataclass(frozen=True, slots=True)
class StageCall:
    """One call of one stage.

    `inputs`, `models` with the settings of their engines that change answers, `files`, `config`, `seed`, the stage's
    package data and the version of its code decide the result and make up the key. `home`, `run_id`, `iteration` and
    `surroundings` only say where and how it runs.
    """

    stage: str
    version: int
    home: str
    run_id: str
    iteration: int | None
    """Null outside of iterations."""
    seed: int
    inputs: Mapping[str, ArtifactRef] = field(default_factory=dict)
    models: Mapping[str, ModelRef] = field(default_factory=dict)
    """By role."""
    config: Mapping[str, Any] = field(default_factory=dict)
    surroundings: Surroundings = field(default_factory=Surroundings)
    files: Mapping[str, FileRef] = field(default_factory=dict, kw_only=True)
    """Users' files and data sets, by what the stage takes them for."""
    engines: Mapping[str, EngineConfig] = field(default_factory=dict, kw_only=True)
    """What serves the models, by role."""
    data_digest: str = field(default="", kw_only=True)
    """Of the package data the stage reads."""

    @property
    def key(self) -> str:
        """The stage key: equal keys have equal artifacts."""
        return digest(
            [
                self.stage,
                self.version,
                self.seed,
                {name: ref.content_digest for name, ref in self.inputs.items()},
                {role: model.digest for role, model in self.models.items()},
                {name: file.digest for name, file in self.files.items()},
                self.engine_identities(),
                self.data_digest,
                self.config,
            ]
        )

    @property
    def title(self) -> str:
        """What its runs in Prefect are called: the stage, and its iteration where it has one."""
        return self.stage if self.iteration is None else f"{self.stage}-{self.iteration}"

    def engine_identities(self) -> dict[str, Any]:
        """What of the engines' settings changes answers, with the version of the engines' code, by role."""
        identities = {role: self.engines[role].identity() for role in self.models if role in self.engines}
        return {role: {**identity, "version": ENGINES_VERSION} for role, identity in identities.items()}
