"""The stages of a run as the run itself would call them, in order: what is there is found, the rest is forecast.

The real pipeline is walked, with a runner that only looks. So a plan knows every stage that a run has, and reuses what
the run would reuse: the keys are those of the run, as far as their inputs are there already.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from flows.planning.forecast import Forecast, Forecaster
from flows.planning.models import UNKNOWN, PlannedModels
from flows.probing import first_probe
from flows.wiring.handovers import Models
from flows.wiring.measuring import Measurement
from flows.wiring.pipeline import Pipeline
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, file_ref
from spar_core.benchmarks import data_source
from spar_core.errors import DataError, StorageError
from spar_core.evaluation.data_sources import local_data
from spar_core.planning.stage_work import PROBE, Work
from storage.artifacts import ArtifactRef
from tasks.ahead import Ahead
from tasks.calls import FileRef, StageCall
from tasks.engines import ModelRef
from tasks.stages import Stage


class Step(NamedTuple):
    """One stage of the plan. `reuse`: it is in the home already, so that it takes neither tokens nor time."""

    iteration: int | None
    stage: str
    state: Literal["compute", "reuse"]
    forecast: Forecast


class LookingRunner(StageRunner):
    """Runs nothing: a stage that is not there yet becomes a reference to what it will probably hold."""

    def __init__(self, run: Run, forecaster: Forecaster) -> None:
        super().__init__(run)
        self.steps: list[Step] = []
        self._forecaster = forecaster
        self._seen: dict[str, ArtifactRef] = {}
        self._forecasts: dict[str, Forecast] = {}

    def tokens_of(self, artifact: ArtifactRef) -> float:
        """Completion tokens that a stage's models wrote, or will write."""
        forecast = self._forecasts.get(artifact.stage_key)
        return super().tokens_of(artifact) if forecast is None else forecast.work.written

    def trained_model(self, artifact: ArtifactRef) -> ModelRef:
        """The model that a training made, or will make."""
        if artifact.model_digest is None:
            return ModelRef(artifact.content_digest, artifact.content_digest)
        return ModelRef(artifact.model_digest, str(artifact.model_folder))

    def benchmark_data(self, name: str) -> FileRef:
        """The data of a benchmark; those that are not here yet are not fetched."""
        try:
            found = local_data(data_source(name))
        except DataError:
            found = None
        return FileRef(UNKNOWN + name, name) if found is None else file_ref(found)

    def probe(self, models: Models) -> None:
        """What the run asks of its models before anything else, if it does."""
        probing = first_probe(self._run, models)
        if probing is None:
            return
        if probing.is_known():
            found = Forecast(Work("compute", self._run.config.probe.requests, {}), 0.0, "measured")
            self.steps.append(Step(None, PROBE, "reuse", found))
            return
        digests = {role: model.digest for role, model in models._asdict().items()}
        self.steps.append(Step(None, PROBE, "compute", self._forecaster.of(PROBE, {}, digests)))

    def beside(self) -> "LookingRunner":
        """Another runner that adds to the same plan."""
        other = LookingRunner(self._run, self._forecaster)
        other.steps, other._seen, other._forecasts = self.steps, self._seen, self._forecasts
        return other

    def made(
        self, stage: Stage, call: StageCall, *, then: Ahead | None = None, ahead: Ahead | None = None
    ) -> ArtifactRef:
        """What is there, or a reference to what will be; asked for again the same."""
        key = call.key
        if key not in self._seen:
            self._seen[key] = self._looked_up(stage, call, key)
        return self._seen[key]

    def _looked_up(self, stage: Stage, call: StageCall, key: str) -> ArtifactRef:
        found = _finished(stage, call)
        if found is not None:
            work = Work("compute", found.manifest().rows_in, found.rows)
            self.steps.append(Step(call.iteration, stage.name, "reuse", Forecast(work, 0.0, "measured")))
            return found
        models = {role: model.digest for role, model in call.models.items()}
        forecast = self._forecaster.of(stage.name, _rows(call.inputs), models)
        self.steps.append(Step(call.iteration, stage.name, "compute", forecast))
        self._forecasts[key] = forecast
        return ArtifactRef(stage.name, key, UNKNOWN + key, forecast.work.tables, None, Path())


def walk(run: Run, forecaster: Forecaster) -> list[Step]:
    """Every stage of a run, in the order in which they come."""
    runner, config = LookingRunner(run, forecaster), run.config
    finder = PlannedModels(run.home, config.engine)
    pipeline = Pipeline(run, runner, finder)
    measurement = Measurement(run, runner)
    base = finder.base(run)
    runner.probe(base)
    first = pipeline.warm_start(base)
    measurement.evaluate(0, first, first, None)
    models = first
    for index in range(1, config.iterations + 1):
        data = pipeline.data(index, models, first)
        models = pipeline.train(index, models, data)
        measurement.evaluate(index, models, first, data)
    return runner.steps


def _finished(stage: Stage, call: StageCall) -> ArtifactRef | None:
    """What is there; an artifact that cannot be read is made again."""
    try:
        return stage.finished(call)
    except StorageError:
        return None


def _rows(inputs: Mapping[str, ArtifactRef]) -> Counter[str]:
    """Rows of all inputs by table; none of a table that no input has."""
    rows: Counter[str] = Counter()
    for artifact in inputs.values():
        rows.update(artifact.rows)
    return rows
