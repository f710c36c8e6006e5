"""The stages of self-play wired together: which artifacts, models and configuration each of them reads."""

import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

from flows.request import Run
from spar_core.config.base import FrozenConfig
from spar_core.config.training import DpoTrainingConfig, SftTrainingConfig
from spar_core.errors import DataError
from spar_core.hashing import digest, file_digest
from spar_core.prompts import PromptLibrary
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from tasks.calls import StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.evaluation import EVAL_ACTOR, EVAL_PROMPTS, EVAL_REFINER, SCORES
from tasks.general_ability import ABILITY, SAFE_TASKS
from tasks.judgements import JUDGEMENTS
from tasks.models import local_model, resolve_model
from tasks.negatives import NEGATIVES
from tasks.prompts import PROMPTS
from tasks.responses import RESPONSES
from tasks.stages import Stage
from tasks.training import TRAIN_ACTOR, TRAIN_REFINER, WARM_START_ACTOR, WARM_START_REFINER
from tasks.training_data import PAIRS, REFINER_DATA
from tasks.trees import TREES
from tasks.warm_start import WARM_START_EXAMPLES

_log = logging.getLogger(__name__)
_INTERVALS = ("checkpoint_steps", "log_steps")


class Models(NamedTuple):
    """The two models an iteration starts from or ends with."""

    actor: ModelRef
    refiner: ModelRef

    def of(self, role: ModelRole) -> ModelRef:
        """One of them."""
        return self.actor if role == "actor" else self.refiner


class Data(NamedTuple):
    """What one iteration made."""

    prompts: ArtifactRef
    pairs: ArtifactRef
    refiner_data: ArtifactRef


class Pipeline:
    """Builds the stage calls of one run and runs them. Call its methods inside a flow."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.trained_by: dict[str, ArtifactRef] = {}
        """Artifacts of the trainings of this process, by the digest of the model they made."""
        self._config = run.config
        self._library = PromptLibrary.load(run.config.method.prompt_set)

    def base_models(self) -> Models:
        """What the run starts from."""
        models = self._config.models
        actor = resolve_model(models.actor, self.run.home)
        refiner = resolve_model(models.refiner, self.run.home) if models.refiner else actor
        return Models(actor, refiner)

    def warm_start(self) -> Models:
        """Iteration 0: both roles after supervised training, or the base models as they are."""
        base = self.base_models()
        examples = self.warm_start_examples()
        training = self._config.training
        trained = {
            "actor": (WARM_START_ACTOR, training.warm_start_actor, base.actor),
            "refiner": (WARM_START_REFINER, training.warm_start_refiner, base.refiner),
        }
        models: dict[str, ModelRef] = {}
        for role, (stage, config, start) in trained.items():
            data = examples.get(role)
            models[role] = start if data is None else self._train(stage, 0, "sft", data, start, config)
        return Models(models["actor"], models["refiner"])

    def warm_start_examples(self) -> dict[str, ArtifactRef]:
        """The examples per role; a role without any is left out."""
        warm = self._config.warm_start
        counts = {"actor": warm.actor_examples, "refiner": warm.refiner_examples}
        files = {"actor": warm.actor_file, "refiner": warm.refiner_file}
        examples = {}
        for role, stage in WARM_START_EXAMPLES.items():
            given = files[role] is not None if warm.source == "file" else counts[role] > 0
            if warm.source == "none" or not given:
                continue
            config = {"role": role, "source": warm.source, "count": counts[role]}
            examples[role] = self._run(stage, 0, models=_file_reference(files[role]), config=config)
        return examples

    def data(self, iteration: int, models: Models) -> Data:
        """Prompts, answers, judgements, trees and the training data made of them."""
        method = self._config.method
        prompts = self._prompts(iteration, models.actor)
        responses = self._run(
            RESPONSES, iteration, {"prompts": prompts}, {"actor": models.actor}, {"responses": plain(method.responses)}
        )
        judging = {"judging": plain(method.judging), **self._templates("judge")}
        answered = {"prompts": prompts, "responses": responses}
        judgements = self._run(JUDGEMENTS, iteration, answered, {"refiner": models.refiner}, judging)
        judged = {**answered, "judgements": judgements}
        if method.pairs.method == "spar":
            pairs, trees = self._searched(iteration, models, judged)
        else:
            trees = None
            pairs = self._run(PAIRS, iteration, judged, config={"pairs": plain(method.pairs)})
        sources = judged if trees is None else {**judged, "trees": trees}
        quotas = {"refiner_data": plain(method.refiner_data), **self._templates("judge", "refine")}
        if method.refiner_data.replay_fraction > 0 and "refiner" in (examples := self.warm_start_examples()):
            sources = {**sources, "replay": examples["refiner"]}
        refiner_data = self._run(REFINER_DATA, iteration, sources, config=quotas)
        return Data(prompts, pairs, refiner_data)

    def _prompts(self, iteration: int, actor: ModelRef) -> ArtifactRef:
        config = self._config.prompts
        reads: dict[str, Any] = {"iteration": iteration, "prompts": plain(config)}
        references: dict[str, ModelRef] = {}
        if config.path is not None and config.source != "starter":
            references["file"] = content_reference(config.path)
        if config.decontaminate is not None:
            references["benchmarks"] = content_reference(config.decontaminate)
        if config.source == "taxonomy":
            references["actor"] = actor
            reads |= self._templates("evolve")
        for place in ("path", "decontaminate"):  # what lies there counts, not where
            reads["prompts"].pop(place)
        if config.source == "file":
            reads["prompts"]["path"] = ""
        return self._run(PROMPTS, iteration, models=references, config=reads)

    def _searched(
        self, iteration: int, models: Models, judged: dict[str, ArtifactRef]
    ) -> tuple[ArtifactRef, ArtifactRef]:
        method = self._config.method
        chosen = {"max_negatives": method.pairs.max_negatives}
        roots = self._run(NEGATIVES, iteration, judged, config=chosen)
        searching = {
            "judging": plain(method.judging),
            "refinement": plain(method.refinement),
            "search": plain(method.search),
            **self._templates("judge", "refine"),
        }
        trees = self._run(TREES, iteration, {"roots": roots}, {"refiner": models.refiner}, searching)
        made_of = {"prompts": judged["prompts"], "trees": trees}
        return self._run(PAIRS, iteration, made_of, config={"pairs": plain(method.pairs)}), trees

    def train(self, iteration: int, models: Models, data: Data) -> Models:
        """Both roles after learning from an iteration's data."""
        training = self._config.training
        actor = self._train(TRAIN_ACTOR, iteration, "dpo", data.pairs, models.actor, training.actor)
        if not self._config.train_refiner:
            return Models(actor, models.refiner)
        refiner = self._train(TRAIN_REFINER, iteration, "sft", data.refiner_data, models.refiner, training.refiner)
        return Models(actor, refiner)

    def evaluate(self, iteration: int, models: Models, first_actor: ModelRef, data: Data | None) -> ArtifactRef | None:
        """Measure both models on held-out prompts, and the truth of the pairs; None where measuring is off."""
        config = self._config.evaluation
        if self._config.promotion.ability_margin is not None:
            self._measure_ability(iteration, models.actor)
        if not config.enabled:
            return None
        prompts = self.eval_prompts(iteration)
        sampling = {"samples": config.samples, "sampling": plain(config.actor)}
        actor = self._run(
            EVAL_ACTOR, iteration, {"prompts": prompts}, {"actor": models.actor}, sampling, seed=config.seed
        )
        inputs = {"actor": actor}
        if config.refiner_items > 0:
            inputs["refiner"] = self._evaluate_refiner(iteration, models.refiner, first_actor, prompts)
        if data is not None:
            inputs |= {"prompts": data.prompts, "pairs": data.pairs}
        return self._run(SCORES, iteration, inputs, models._asdict(), seed=config.seed)

    def _measure_ability(self, iteration: int, actor: ModelRef) -> None:
        """What the promotion gate compares; the catalogue holds it."""
        reads = {"tasks": list(SAFE_TASKS), "limit": None, "role": "actor"}
        self._run(ABILITY, iteration, models={"model": actor}, config=reads)

    def eval_prompts(self, iteration: int) -> ArtifactRef:
        """The held-out prompts."""
        config = self._config.evaluation
        reads = {"source": config.source, "split": config.split, "count": config.prompts}
        return self._run(EVAL_PROMPTS, iteration, config=reads, seed=config.seed)

    def _evaluate_refiner(
        self, iteration: int, refiner: ModelRef, first_actor: ModelRef, prompts: ArtifactRef
    ) -> ArtifactRef:
        """Every iteration's refiner judges and repairs the same answers: those of the first actor."""
        config, method = self._config.evaluation, self._config.method
        sampling = {"samples": config.samples, "sampling": plain(config.actor)}
        answers = self._run(EVAL_ACTOR, 0, {"prompts": prompts}, {"actor": first_actor}, sampling, seed=config.seed)
        reads = {
            "items": config.refiner_items,
            "judging": plain(method.judging),
            "refinement": plain(method.refinement),
            "search": plain(method.search),
            **self._templates("judge", "refine"),
        }
        inputs = {"prompts": prompts, "answers": answers}
        return self._run(EVAL_REFINER, iteration, inputs, {"refiner": refiner}, reads, seed=config.seed)

    def _train(
        self,
        stage: Stage,
        iteration: int,
        kind: Literal["dpo", "sft"],
        data: ArtifactRef,
        start: ModelRef,
        config: DpoTrainingConfig | SftTrainingConfig,
    ) -> ModelRef:
        table = "preference_pairs" if kind == "dpo" else "refiner_examples"
        if not data.rows.get(table):
            _log.warning("%s, iteration %d: nothing to train on, the model stays as it is", stage.name, iteration)
            return start
        values = plain(config)
        intervals = {name: values.pop(name) for name in _INTERVALS}
        reads = {"kind": kind, "training": values}
        artifact = self._run(stage, iteration, {"data": data}, {"start": start}, reads, intervals=intervals)
        model = local_model(artifact.model_folder, self.run.home)
        self.trained_by[model.digest] = artifact
        return model

    def _templates(self, *names: str) -> dict[str, str]:
        """What the prompt texts a stage reads say."""
        return {"templates": self._library.digest_of(*names)}

    def _run(
        self,
        stage: Stage,
        iteration: int,
        inputs: dict[str, ArtifactRef] | None = None,
        models: dict[str, ModelRef] | None = None,
        config: dict[str, Any] | None = None,
        intervals: dict[str, int] | None = None,
        seed: int | None = None,
    ) -> ArtifactRef:
        inputs = inputs or {}
        surroundings = Surroundings(
            engines=dict.fromkeys(("actor", "refiner", "model"), self._config.engine),
            orchestration=self._config.orchestration,
            launch=self._config.training.launch,
            prompt_set=self._config.method.prompt_set,
            training_intervals=intervals or {},
        )
        call = StageCall(
            stage=stage.name,
            version=stage.version,
            home=str(self.run.home.root),
            run_id=self.run.run_id,
            iteration=iteration,
            seed=self._config.seed if seed is None else seed,
            inputs=inputs,
            models=models or {},
            config=config or {},
            surroundings=surroundings,
        )
        return stage.run(call, parts=stage.parts(inputs))


def plain(config: FrozenConfig) -> dict[str, Any]:
    """Plain JSON values of a configuration, as they enter stage keys."""
    return config.model_dump(mode="json")


def _file_reference(path: Path | None) -> dict[str, ModelRef]:
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
