"""Training on given data alone: the flow behind `spar train`."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from prefect import flow
from pydantic import BaseModel, ConfigDict, model_validator

from flows.showing.publishing import stages_shown
from flows.wiring.models import default_configuration
from flows.wiring.pipeline import Pipeline
from flows.wiring.request import Override, Reference, Run
from flows.wiring.runs import RunPlan, opened_run
from flows.wiring.stage_calls import data_ref
from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.config.training import DpoTrainingConfig, SftTrainingConfig
from spar_core.hashing import digest
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.engines import ModelRef
from tasks.given_data import GIVEN_EXAMPLES, GIVEN_PAIRS
from tasks.models import resolve_model
from tasks.registration import Trained, register_models
from tasks.runners import THREADS
from tasks.stages import Stage
from tasks.training import TRAIN_ACTOR, TRAIN_REFINER, WARM_START_ACTOR, WARM_START_REFINER

_ITERATION = 0  # what such a run makes is, like a warm start, a model before any self-play


class TrainRequest(BaseModel):
    """Which role learns from which data, from which model on, and with which settings."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    role: ModelRole
    """Whose model it becomes."""
    home: str
    """Home folder of the artifacts."""
    pairs: str | None = None
    """Preference pairs to learn from by DPO: a file, folder or hub name (docs/data.md)."""
    examples: str | None = None
    """Examples to be supervised on; the same forms."""
    model: Reference | None = None
    """Model that training starts from; null: the configuration's."""
    preset: str | None = None
    """Configuration to take the settings of training from; null: what suits the model."""
    config_file: str | None = None
    """A YAML file of the same."""
    overrides: tuple[Override, ...] = ()
    """`key.path=value` strings."""
    skip_bad: bool = False
    """Record broken rows as drops instead of stopping at the first."""

    @model_validator(mode="after")
    def _one_kind_of_data(self) -> Self:
        if (self.pairs is None) == (self.examples is None):
            raise ValueError("give either pairs (DPO) or examples (supervised training)")
        return self

    @property
    def source(self) -> str:
        """The data, wherever they lie."""
        return self.pairs or self.examples or ""

    def configuration(self) -> RunConfig:
        """The configuration whose `training` and `seed` count here."""
        if self.model is not None and self.preset is None and self.config_file is None:
            return load_config(base=default_configuration(self.model, Home(self.home)), overrides=self.overrides)
        file = Path(self.config_file) if self.config_file else None
        return load_config(self.preset, file, self.overrides)


class TrainedModel(NamedTuple):
    """What came of it. `settings` is the part of the configuration that decided how it was trained."""

    run_id: str
    reference: str
    model: ModelRef
    data: ArtifactRef
    training: ArtifactRef
    settings: str

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        data, training = self.data.manifest(), self.training.manifest()
        return {
            "run_id": self.run_id,
            "model": {"reference": self.reference, "digest": self.model.digest, "folder": self.model.location},
            "settings": self.settings,
            "data": _rows(data),
            "training": {**_rows(training), "steps": int(training.metrics["steps"])},
        }


@flow(name="training", flow_run_name="training", task_runner=THREADS)
def training(request: TrainRequest) -> TrainedModel:
    """Read the data, train, register the model as candidate; every stage is cached, so the same request resumes.

    Raises:
        SparError: data or a model that cannot be used, or a training that failed.
    """
    home, config = Home(request.home), request.configuration()
    reference = request.model or config.models.of(request.role)
    start = resolve_model(reference, home)
    given = data_ref(request.source)
    how = how_trained(request.role, config, pairs=request.pairs is not None)
    asked = [request.role, how.kind, request.skip_bad, given.digest, start.digest, config.results_digest()]
    run = Run(home, f"train-{request.role}-{digest(asked)[:8]}", config)
    named = config.models.model_copy(update={request.role: reference})  # the ledger says what it was made from
    told = config.model_copy(update={"models": named}).model_dump(mode="json")
    with opened_run(RunPlan(home, run.run_id, told, "run")) as runtime, stages_shown(home, run.run_id, _ITERATION):
        tracker = runtime.tracking.tracker
        tracker.tag(tracker.open_run(run.run_id), "spar.data", given.location)
        pipeline = Pipeline(run)
        reads: dict[str, Any] = {"skip_bad": request.skip_bad}
        reading = GIVEN_PAIRS
        if how.kind == "sft":
            templates = pipeline.stages.templates("judge", "refine")  # whose form tells the refiner's rows
            reading, reads = GIVEN_EXAMPLES[request.role], {"role": request.role, **reads, **templates}
        data = pipeline.stages.run(reading, _ITERATION, files={"data": given}, config=reads)
        model = pipeline.train_on(how.stage, _ITERATION, how.kind, data, start, how.config)
        made = pipeline.trained_by[model.digest]
        registered = Trained(request.role, model, start, [made])
        candidate = register_models(str(home.root), run.run_id, _ITERATION, [registered], None)[0]
    return TrainedModel(run.run_id, f"{request.role}/{candidate.version}", model, data, made, how.settings)


class HowTrained(NamedTuple):
    """The stage, the kind of training, its configuration, and where that stands."""

    stage: Stage
    kind: Literal["dpo", "sft"]
    config: DpoTrainingConfig | SftTrainingConfig
    settings: str


def how_trained(role: ModelRole, config: RunConfig, *, pairs: bool) -> HowTrained:
    """How a role learns from pairs or from examples.

    The stages are those of self-play: a run whose warm start reads the same examples finds the model made.
    """
    given = config.training
    if pairs and role == "actor":
        return HowTrained(TRAIN_ACTOR, "dpo", given.actor, "training.actor")
    if pairs:
        return HowTrained(TRAIN_REFINER, "dpo", given.judge_training(), "training.judge")
    if role == "actor":
        return HowTrained(WARM_START_ACTOR, "sft", given.warm_start_actor, "training.warm_start_actor")
    return HowTrained(WARM_START_REFINER, "sft", given.warm_start_refiner, "training.warm_start_refiner")


def _rows(manifest: Any) -> dict[str, Any]:
    rows = {"rows_in": manifest.rows_in, "rows_out": manifest.rows_out}
    return {**rows, "drops": dict(manifest.drops)}
