"""The stages of self-play wired together: which artifacts, models and configuration each of them reads."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flows.wiring.handovers import Data, Models
from flows.wiring.iteration_data import IterationData
from flows.wiring.models import ModelFinder
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, plain
from spar_core.config.training import INTERVALS
from spar_core.engines.configuration import ThinkingSettings
from spar_core.records import ModelRole
from spar_core.training.model_folder import MASTERS
from spar_core.training.specification import AnyTraining, Kind
from storage.artifacts import ArtifactRef
from storage.remote_artifacts import bring_model
from tasks.engines import ModelRef
from tasks.stages import Stage
from tasks.training import (
    REINFORCE_ACTOR,
    REWARDS,
    START,
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
        examples, training = self._data.warm_start_examples(), self._config.training
        of_role = {
            "actor": (WARM_START_ACTOR, training.warm_start_actor),
            "refiner": (WARM_START_REFINER, training.warm_start_refiner),
        }

        def train(role: ModelRole, start: ModelRef) -> ModelRef:
            data, (stage, config) = examples.get(role), of_role[role]
            return start if data is None else self.train_on(stage, 0, "sft", data, start, config)

        return self._both(base, train)

    def data(self, iteration: int, models: Models, first: Models) -> Data:
        """What both roles learn from in this iteration; `first` are the models after the warm start."""
        return self._data.make(iteration, models, first)

    def train(self, iteration: int, models: Models, data: Data) -> Models:
        """Both roles after learning from an iteration's data."""

        def train(role: ModelRole, start: ModelRef) -> ModelRef:
            if role == "actor":
                return self._taught_actor(iteration, start, models.refiner, data)
            return self._taught_refiner(iteration, start, data.refiner)

        return self._both(models, train)

    def trainings_of(self, model: ModelRef) -> list[ArtifactRef]:
        """The trainings of this process that made a model, in their order; none where it was only found."""
        found: list[ArtifactRef] = []
        digest: str | None = model.digest
        while digest in self.trained_by and self.trained_by[digest] not in found:
            found.insert(0, self.trained_by[digest])
            digest = found[0].manifest().model_digests.get(START)
        return found

    def _both(self, models: Models, train: Callable[[ModelRole, ModelRef], ModelRef]) -> Models:
        """Both roles trained from where they stand; shared weights by two in turn, the actor's last."""
        if not self._config.models.shared:
            return Models(train("actor", models.actor), train("refiner", models.refiner))
        made = train("actor", train("refiner", models.actor))
        return Models(made, made)

    def _taught_actor(self, iteration: int, start: ModelRef, judge: ModelRef, data: Data) -> ModelRef:
        if data.pairs is None:
            return self._reinforced(iteration, start, judge, data.prompts)
        return self.train_on(TRAIN_ACTOR, iteration, "dpo", data.pairs, start, self._config.training.actor)

    def _taught_refiner(self, iteration: int, start: ModelRef, data: ArtifactRef | None) -> ModelRef:
        if data is None:
            return start
        if self._config.refiner_learns_by() == "dpo":
            judge = self._config.training.judge_training()
            return self.train_on(TRAIN_REFINER, iteration, "dpo", data, start, judge)
        return self.train_on(TRAIN_REFINER, iteration, "sft", data, start, self._config.training.refiner)

    def _reinforced(self, iteration: int, start: ModelRef, judge: ModelRef, prompts: ArtifactRef) -> ModelRef:
        """The actor after learning from rewards; under `judged` from those of the iteration's first refiner."""
        config, tokens = self._config.training.grpo, self._data.tokens.of(iteration)
        reads: dict[str, Any] = {} if tokens is None else {"tokens": tokens}
        judges: dict[str, ModelRef] = {}
        if config.reward == "judged":
            judges[REWARDS] = judge
            reads |= {"judging": plain(self._config.method.judging), **self.stages.templates("judge")}
        return self.train_on(REINFORCE_ACTOR, iteration, "grpo", prompts, start, config, beside=judges, besides=reads)

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
            stage, iteration, {"data": data}, {START: start, **(beside or {})}, reads, intervals=intervals
        )
        model = self.stages.trained_model(artifact)
        self.trained_by[model.digest] = artifact
        return model
