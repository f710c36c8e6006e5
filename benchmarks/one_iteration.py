"""The data of one iteration, made as a run makes it: Prefect's server and tasks, journals, Parquet, ledger."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flows.wiring.handovers import Data
from flows.wiring.session import session
from spar_core.config.loading import load_config
from spar_core.engines.configuration import EngineConfig
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.calls import StageCall
from tasks.runtime import Runtime, SilentReporter

ROLES = ("actor", "refiner")


class StageListener(SilentReporter):
    """Is told of each stage when it begins and when it is over; by default of nothing."""

    def __init__(self, began: Callable[[str], None] | None = None, ended: Callable[[str], None] | None = None) -> None:
        self._began = began
        self._ended = ended

    def stage_started(self, call: StageCall, parts: int) -> None:
        if self._began:
            self._began(call.stage)

    def stage_finished(self, call: StageCall, artifact: ArtifactRef, cached: bool, seconds: float) -> None:
        if self._ended:
            self._ended(call.stage)


def make_iteration(
    home: Path,
    settings: Sequence[str],
    listener: StageListener,
    engines: EngineConfig | Mapping[str, EngineConfig] | None = None,
) -> Data:
    """Prompts, answers, judgements, trees and training data of an iteration of the preset `smoke` with other settings.

    `engines`: what answers for both roles, or for each, in place of the configured one, which must not load weights
    either.
    """
    where = Home(home)
    run = (where, "benchmark", load_config("smoke", overrides=list(settings)))
    with session(where, "benchmark", quiet=True):
        from prefect import flow
        from prefect.task_runners import ThreadPoolTaskRunner

        from flows.wiring.handovers import Models
        from flows.wiring.iteration_data import IterationData
        from flows.wiring.request import Run
        from flows.wiring.stage_calls import StageRunner
        from tasks.engines import ModelRef

        Runtime.of(str(where.root)).reporter = listener
        models = Models(ModelRef("actor", "nowhere"), ModelRef("refiner", "nowhere"))

        @flow(name="data", task_runner=ThreadPoolTaskRunner(max_workers=64))
        def data() -> Data:
            asked = Run(*run)
            answering = engines if engines is None or isinstance(engines, Mapping) else dict.fromkeys(ROLES, engines)
            return IterationData(asked, StageRunner(asked, answering)).make(1, models, models)

        made: Data = data()
    return made
