"""What one training is asked to do and what came of it: the only things that cross the process boundary, as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import FrozenConfig
from spar_core.config.launch import LaunchConfig
from spar_core.config.method import JudgingConfig
from spar_core.config.training import (
    INTERVALS,
    DpoTrainingConfig,
    GrpoTrainingConfig,
    SftTrainingConfig,
    check_spread,
    uneven_batch,
)
from spar_core.engines.configuration import ThinkingSettings, TransformersEngineConfig
from spar_core.hashing import digest
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop
from spar_core.training.model_folder import MASTERS

AnyTraining = DpoTrainingConfig | SftTrainingConfig | GrpoTrainingConfig
Kind = Literal["dpo", "sft", "grpo"]
CONFIG_OF_KIND: Final[dict[str, type[AnyTraining]]] = {
    "dpo": DpoTrainingConfig,
    "sft": SftTrainingConfig,
    "grpo": GrpoTrainingConfig,
}
"""The settings that a kind of training takes."""


class JudgeSpec(FrozenConfig):
    """grpo: who judges the answers that are drawn."""

    model_folder: Path
    """The refiner."""
    digest: str
    """Of its weights."""
    engine: TransformersEngineConfig
    """What serves it, inside the training's process."""
    prompt_set: str
    """Its requests."""
    judging: JudgingConfig
    """How it judges."""

    def identity(self) -> list[Any]:
        """What of it decides rewards."""
        texts = PromptLibrary.load(self.prompt_set).digest_of("judge")
        return [self.digest, self.engine.identity(), texts, self.judging.model_dump(mode="json")]


class TrainingSpec(FrozenConfig):
    """One training: starting model, data, settings and where the new model goes. Written as JSON for the worker."""

    kind: Kind
    """dpo reads columns pair_id, prompt, chosen, rejected; sft reads example_id, messages; grpo those of prompts."""
    model_folder: Path
    """Starting model: safetensors, config.json, tokenizer and chat template. Also the reference model of DPO."""
    data_files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Parquet files, read in this order."""
    output_folder: Path
    """Folder of the new model; it appears complete or not at all."""
    config: AnyTraining
    """Hyperparameters; their type follows `kind`."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """grpo: it ends with the step that brings the tokens of its answers to so many, whatever `epochs` says."""
    judge: JudgeSpec | None = None
    """grpo: who says what an answer is worth, under `reward: judged`."""
    chat: ThinkingSettings = ThinkingSettings()
    """How chats are laid out: as by the engine that serves the model."""
    launch: LaunchConfig = LaunchConfig()
    """Processes, threads, environment."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of data order, dropout and adapter initialisation."""
    work_folder: Path | None = None
    """Checkpoints, metrics and log while training; null takes `output_folder` + ".work". Removed after success."""
    log_file: Path | None = None
    """Output of the subprocess, kept after success; null takes `output_folder` + ".log"."""
    label: str = "training"
    """Name for messages and the stage name of recorded drops."""
    meeting_folder: Path | None = None
    """Where other machines find trainings to join (`launch.nodes` above 1), on storage that all of them share."""
    step_offset: Annotated[int, Field(ge=0)] = 0
    """Added to the step of reported metrics, so that several trainings can share one chart."""

    @field_validator(
        "model_folder", "data_files", "output_folder", "work_folder", "log_file", "meeting_folder", mode="after"
    )
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        """The worker may run in another directory."""
        if isinstance(value, tuple):
            return tuple(path.absolute() for path in value)
        return value.absolute() if value is not None else None

    @model_validator(mode="before")
    @classmethod
    def _config_of_kind(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("config"), Mapping) and data.get("kind") in CONFIG_OF_KIND:
            return {**data, "config": CONFIG_OF_KIND[data["kind"]].model_validate(data["config"])}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        expected = CONFIG_OF_KIND[self.kind]
        if not isinstance(self.config, expected):
            raise ValueError(f"kind {self.kind!r} needs a {expected.__name__}, not a {type(self.config).__name__}")
        if isinstance(self.config, GrpoTrainingConfig) and (self.config.reward == "judged") != (self.judge is not None):
            raise ValueError("a judge is given where, and only where, training.grpo.reward is judged")
        self.accumulation_steps(self.launch.world)
        check_spread(self.config, self.launch)
        return self

    @property
    def work(self) -> Path:
        """Folder of everything temporary, beside the output so that the final rename stays on one filesystem."""
        return self.work_folder or self.output_folder.with_name(self.output_folder.name + ".work")

    @property
    def log(self) -> Path:
        """File that receives the subprocess' stdout and stderr."""
        return self.log_file or self.output_folder.with_name(self.output_folder.name + ".log")

    @property
    def weights_folder(self) -> Path:
        """Where the weights are read from: the fp32 ones beside the model where they are wanted and there."""
        masters = self.model_folder / MASTERS
        return masters if self.config.keep_masters and masters.is_dir() else self.model_folder

    @property
    def micro_batch_size(self) -> int:
        """Rows per forward pass and process, never more than an optimiser step needs."""
        return min(self.config.micro_batch_size, self.config.batch_size)

    def accumulation_steps(self, processes: int) -> int:
        """Forward passes per optimiser step and process.

        Raises:
            ValueError: `batch_size` is not a multiple of processes x `micro_batch_size`.
        """
        if (uneven := uneven_batch(self.config, processes)) is not None:
            raise ValueError(uneven)
        return self.config.batch_size // (self.micro_batch_size * processes)

    def identity(self, model_digest: str, data_digests: list[str]) -> str:
        """Digest of all that decides the resulting weights; paths, launcher, labels and intervals play no part."""
        config = self.config.model_dump(mode="json", exclude=set(INTERVALS))
        from_masters, chat = self.weights_folder != self.model_folder, self.chat.layout()
        content: list[Any] = ["training", self.kind, model_digest, data_digests, config, self.seed, from_masters]
        if self.tokens is not None:
            content.append(["tokens", self.tokens])
        if self.judge is not None:
            content.append(["judge", *self.judge.identity()])
        return digest([*content, chat] if chat else content)


class TrainingOutcome(NamedTuple):
    """What a finished training did. rows_in = rows_trained + dropped."""

    model_folder: Path
    identity: str
    rows_in: int
    rows_trained: int
    steps: int
    resumed_from_step: int
    seconds: float
    metrics: dict[str, float]
    dropped: tuple[Drop, ...]
    log_file: Path

    def to_json(self) -> str:
        """One JSON object."""
        plain = self._asdict()
        plain["model_folder"], plain["log_file"] = str(self.model_folder), str(self.log_file)
        plain["dropped"] = [[drop.stage, drop.record_id, drop.reason, drop.detail] for drop in self.dropped]
        return json.dumps(plain, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: the text is no outcome.
        """
        plain = json.loads(text)
        plain["model_folder"], plain["log_file"] = Path(plain["model_folder"]), Path(plain["log_file"])
        plain["dropped"] = tuple(Drop(*fields) for fields in plain["dropped"])
        return cls(**plain)
