"""The stages of self-play wired together: which artifacts, models and configuration each of them reads."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.wiring.handovers import Data, Models
from flows.wiring.iteration_data import IterationData
from flows.wiring.models import ModelFinder
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, plain
from spar_core.config.training import INTERVALS
from spar_core.engines.configuration import ThinkingSettings
from spar_core.training.model_folder import MASTERS
from spar_core.training.specification import AnyTraining, Kind
from storage.artifacts import ArtifactRef
from storage.remote_artifacts import bring_model
from tasks.engines import ModelRef
from tasks.stages import Stage
from tasks.training import (
    REINFORCE_ACTOR,
    REWARDS,
    TRAIN_ACTOR,
    TRAIN_REFINER,
    WARM_START_ACTOR,
    WARM_START_REFINER,
    training_table,
)

_log = logging.getLogger(__name__)


class Pipeline:
    """Builds the stage calls of one run and runs them. Call its methods inside a flow."""

    def __init__(self, run: Run, stages: StageRunner | None = None, finder: ModelFinder | None = None) -> None:
        self.run = run
        self.trained_by: dict[str, ArtifactRef] = {}
        """Artifacts of the trainings of this process, by the digest of the model they made."""
        self.stages = stages or StageRunner(run)
        self._data = IterationData(run, self.stages, finder)
        self._config = run.config

    def warm_start(self, base: Models) -> Models:
        """Iteration 0: both roles after supervised training, or the base models as they are.

        What is made once for all iterations is made before.
        """
        self._data.prepare()
        examples = self._data.warm_start_examples()
        training = self._config.training
        trained = {
            "actor": (WARM_START_ACTOR, training.warm_start_actor, base.actor),
            "refiner": (WARM_START_REFINER, training.warm_start_refiner, base.refiner),
        }
        models: dict[str, ModelRef] = {}
        for role, (stage, config, start) in trained.items():
            data = examples.get(role)
            models[role] = start if data is None else self.train_on(stage, 0, "sft", data, start, config)
        return Models(models["actor"], models["refiner"])

    def data(self, iteration: int, models: Models, first: Models) -> Data:
        """What both roles learn from in this iteration; `first` are the models after the warm start."""
        return self._data.make(iteration, models, first)

    def train(self, iteration: int, models: Models, data: Data) -> Models:
        """Both roles after learning from an iteration's data."""
        training = self._config.training
        if data.pairs is None:
            actor = self._reinforced(iteration, models, data.prompts)
        else:
            actor = self.train_on(TRAIN_ACTOR, iteration, "dpo", data.pairs, models.actor, training.actor)
        if data.refiner is None:
            return Models(actor, models.refiner)
        if self._config.refiner_learns_by() == "dpo":
            judge = training.judge_training()
            return Models(actor, self.train_on(TRAIN_REFINER, iteration, "dpo", data.refiner, models.refiner, judge))
        refiner = self.train_on(TRAIN_REFINER, iteration, "sft", data.refiner, models.refiner, training.refiner)
        return Models(actor, refiner)

    def _reinforced(self, iteration: int, models: Models, prompts: ArtifactRef) -> ModelRef:
        """The actor after learning from rewards; under `judged` from those of the iteration's first refiner."""
        config, tokens = self._config.training.grpo, self._data.tokens.of(iteration)
        reads: dict[str, Any] = {} if tokens is None else {"tokens": tokens}
        judges: dict[str, ModelRef] = {}
        if config.reward == "judged":
            judges[REWARDS] = models.refiner
            reads |= {"judging": plain(self._config.method.judging), **self.stages.templates("judge")}
        return self.train_on(
            REINFORCE_ACTOR, iteration, "grpo", prompts, models.actor, config, beside=judges, besides=reads
        )

    def train_on(
        self,
        stage: Stage,
        iteration: int,
        kind: Kind,
        data: ArtifactRef,
        start: ModelRef,
        config: AnyTraining,
        *,
        beside: Mapping[str, ModelRef] | None = None,
        besides: Mapping[str, Any] | None = None,
    ) -> ModelRef:
        """A model after one training, or as it is where there is nothing to train on.

        `beside`: other models that it asks; `besides`: what else it reads of the configuration.
        """
        if not data.rows.get(training_table(kind, data)):
            _log.warning("%s, iteration %d: nothing to train on, the model stays as it is", stage.name, iteration)
            return start
        values = plain(config)
        intervals = {name: values.pop(name) for name in INTERVALS}
        reads: dict[str, Any] = {"kind": kind, "training": values}
        reads |= besides or {}
        if config.keep_masters and bring_model(Path(start.location)) and (Path(start.location) / MASTERS).is_dir():
            reads["masters"] = True  # no part of the model's digest, and yet what training goes on from
        engine = self._config.engine
        if isinstance(engine, ThinkingSettings) and (chat := engine.layout()):
            reads["chat"] = chat
        artifact = self.stages.run(
            stage, iteration, {"data": data}, {"start": start, **(beside or {})}, reads, intervals=intervals
        )
        model = self.stages.trained_model(artifact)
        self.trained_by[model.digest] = artifact
        return model
