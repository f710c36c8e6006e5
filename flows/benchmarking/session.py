"""What the benchmarks of one request share: models, data, options, and how a stage is run."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.benchmarking.answering import (
    Answering,
    benchmark_answering,
    check_answering,
    self_play_answering,
    with_template,
)
from flows.benchmarking.data_check import options_of
from flows.benchmarking.models import MeasuredModel, measured_model
from flows.benchmarking.request import BenchmarkRequest
from flows.wiring.models import SERVER_OPTIONS, ModelFinder
from flows.wiring.request import Run
from flows.wiring.stage_calls import StageRunner, file_ref, plain
from spar_core.benchmarks import benchmark
from spar_core.benchmarks.plugin import AskedBenchmark, Benchmark, JudgedBenchmark, Loaded, Options, left_out_note
from spar_core.config.run import RunConfig
from spar_core.engines.configuration import EngineConfig
from spar_core.errors import ConfigError
from spar_core.evaluation.data_sources import find_data
from spar_core.hashing import digest
from spar_core.records import ModelRole
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.calls import FileRef
from tasks.engines import ModelRef
from tasks.evaluation import EVAL_ACTOR, EVAL_PROMPTS
from tasks.stages import Stage

_NOT_RESULTS = {"home", "data_dir", "model", "refiner", "judge", *SERVER_OPTIONS}  # models count by digest


class BenchmarkSession:
    """One request: its models resolved, its stages run under one run. Use it inside a flow.

    `notes` gathers what a reader of the scores must know, `data` what the data were, `artifacts` what the stages made.
    """

    def __init__(self, request: BenchmarkRequest, home: Home, config: RunConfig) -> None:
        """Raises ConfigError where the request does not go together, SparError for a model that cannot be used."""
        check_answering(request)
        self.request = request
        self.home = home
        self.config = config
        self.notes: list[str] = []
        self.unmeasured: dict[str, str] = {}
        """What the engine refused as a whole, with what it said."""
        self.licences: list[str] = []
        self.data: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[tuple[str, str], ArtifactRef] = {}
        self._finder = ModelFinder(home, config.engine, request.servers())
        self.model = self._measured(request.model)
        self.refiner = self._measured(request.refiner) if request.refiner else self.model
        self.judge = self._chosen_judge()
        asked = request.model_dump(mode="json", exclude=_NOT_RESULTS)
        models = [model.served.model.digest for model in (self.model, self.refiner, self.judge) if model]
        self.shown_answering = self._answering_of(request.names())
        self.run_id = f"eval-{request.benchmark}-{digest([asked, models, config.results_digest()])[:8]}"
        self._stages = StageRunner(Run(home, self.run_id, config), self._engines())

    @property
    def judge_name(self) -> str | None:
        """Who judged, where a judge was asked."""
        return None if self.judge is None else self.judge.name

    @property
    def held_out_seed(self) -> int:
        """The seed of self-play's evaluation."""
        return self.config.evaluation.seed

    @cached_property
    def answering(self) -> Answering:
        """How the prompts of benchmarks are answered."""
        return benchmark_answering(self.request, self._subject_engine(), self.config.seed)

    @cached_property
    def held_out_answering(self) -> Answering:
        """How self-play's held-out prompts are answered, where that is the model under test."""
        return self_play_answering(self.request, self._subject_engine(), self.config.evaluation)

    def versions(self) -> dict[ModelRole, Any]:
        """The registered versions that were measured, by role."""
        measured = (self.model, self.refiner)
        return {model.version.name: model.version for model in measured if model.version is not None}  # type: ignore[misc]

    def options(self) -> Options:
        """What a benchmark may read of the request."""
        return options_of(self.request)

    def role(self, of: Benchmark) -> ModelRole:
        """The role the scores of a benchmark are filed under."""
        if of.subject == "refiner" and self.request.refiner:
            return "refiner"
        registered = self.model.version.name if self.model.version else None
        return self.request.role or ("refiner" if (registered or of.subject) == "refiner" else "actor")

    def load(self, of: AskedBenchmark, reads: Mapping[str, Any]) -> FileRef:
        """A benchmark's data by content; what is not as published, and what is left out of it, is noted."""
        folder = Path(self.request.data_dir) if self.request.data_dir else None
        own = self.request.prompts if of.takes_prompts else None
        path = Path(own) if own else find_data(of.name, of.source, folder)
        loaded = of.load(path, reads)
        self.notes += [note for note in ("" if own else loaded.warning, left_out_note(loaded.left_out)) if note]
        self.licences += [] if own or of.source.licence in self.licences else [of.source.licence]
        self.data[of.filed_as(reads)] = _data_used(of, path, loaded)
        return FileRef(loaded.digest, str(path.absolute()))

    def judge_prompts(self) -> dict[str, FileRef]:
        """The user's folder of judge prompts as a file of a stage."""
        return {"judge_prompts": file_ref(self.request.judge_prompts)} if self.request.judge_prompts else {}

    def held_out(self, actor: ModelRef, answering: Answering | None = None) -> dict[str, ArtifactRef]:
        """Held-out prompts and an actor's answers: the very artifacts of self-play's evaluation where it made them.

        `answering`: how, where it is not as self-play does.
        """
        config = self.config.evaluation
        count = config.prompts if self.request.limit is None else min(config.prompts, self.request.limit)
        reads = {"source": config.source, "split": config.split, "count": count}
        prompts = self.run(EVAL_PROMPTS, config=reads, seed=config.seed)
        sampling, seed = {"samples": config.samples, "sampling": plain(config.actor)}, config.seed
        if answering is not None:
            said = plain(answering.sampling)
            samples = said.pop("per_prompt")
            sampling = {"samples": samples, "sampling": said, **answering.under_system(), **answering.told()}
            seed = seed if self.request.seed is None else self.request.seed
        answers = self.run(EVAL_ACTOR, {"prompts": prompts}, {"actor": actor}, sampling, seed=seed)
        return {"prompts": prompts, "answers": answers}

    def judging(self) -> dict[str, Any]:
        """What a stage reads that asks the refiner for votes."""
        return {"judging": plain(self.config.method.judging.votes_alone()), **self._stages.templates("judge")}

    def mending(self, *, decisions_alone: bool = False) -> dict[str, Any]:
        """What a stage reads that lets the refiner mend answers; `decisions_alone`: it measures no votes."""
        method = self.config.method
        return {
            "items": self.config.evaluation.refiner_items,
            "judging": plain(method.judging.votes_alone()),
            "refinement": plain(method.refinement),
            "search": plain(method.search if decisions_alone else method.search.every_vote()),
            **self._stages.templates("judge", "refine"),
        }

    def run(
        self,
        stage: Stage,
        inputs: Mapping[str, ArtifactRef] | None = None,
        models: Mapping[str, ModelRef] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        files: Mapping[str, FileRef] | None = None,
        seed: int | None = None,
    ) -> ArtifactRef:
        """The artifact of a stage, computed or found."""
        iteration = self.model.iteration
        found = self._stages.run(stage, iteration, inputs, models, config, files=files, seed=seed)
        self.artifacts[found.stage, found.stage_key] = found
        return found

    def _engines(self) -> dict[str, EngineConfig]:
        judge, model = self.judge or self.refiner, self._subject_engine()
        return {"model": model, "actor": model, "refiner": self.refiner.served.engine, "judge": judge.served.engine}

    def _answering_of(self, names: Iterable[str]) -> Answering:
        """How the model under test answers; options must suit self-play's prompts and other benchmarks' alike."""
        kinds = {isinstance(found, AskedBenchmark) for found in map(benchmark, names) if found.answered}
        held_out = self.held_out_answering if False in kinds else None
        return self.answering if True in kinds or held_out is None else held_out

    def _subject_engine(self) -> EngineConfig:
        return with_template(self.model.served.engine, self.request.chat_template)

    def _chosen_judge(self) -> MeasuredModel | None:
        """The judge of the benchmarks that need one: it has no default but for `all`, since its name is the score's."""
        asked = [benchmark(name) for name in self.request.names()]
        if not any(isinstance(found, JudgedBenchmark) and found.judge == "judge" for found in asked):
            return None
        if self.request.judge is None and self.request.refiner is None and self.request.benchmark != "all":
            raise ConfigError(
                f"{self.request.benchmark} needs a judge for what no rule decides; name one: --judge REF (scores of "
                "other judges than the published one, GPT-4, are not comparable with published figures)"
            )
        judge = self.refiner if self.request.judge is None else self._measured(self.request.judge)
        if judge.served.model.digest == self.model.served.model.digest:
            self.notes.append(f"the judge ({judge.name}) is the model under test: biased in its own favour")
        return judge

    def _measured(self, reference: str) -> MeasuredModel:
        return measured_model(reference, self.home, self._finder)


class StageBenchmark(Benchmark):
    """A benchmark that says which stages it is made of."""

    @abstractmethod
    def stages(self, session: BenchmarkSession) -> list[ArtifactRef]:
        """Run them; the artifacts that hold its scores.

        Raises:
            ConfigError: something is not installed or not allowed.
        """


def _data_used(of: AskedBenchmark, path: Path, loaded: Loaded) -> dict[str, Any]:
    return {
        "path": str(path.absolute()),
        "digest": loaded.digest,
        "published": not loaded.warning,
        "licence": of.source.licence,
        "left_out": len(loaded.left_out),
    }
