"""The benchmarks on a model or server: the flow behind `spar eval BENCHMARK --model REF`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.benchmark_models import MeasuredModel, measured_model
from flows.benchmark_request import BenchmarkRequest, BenchmarkResult
from flows.runs import RunPlan, opened_run
from flows.stage_calls import plain
from spar_core.config.method import ResponsesConfig
from spar_core.config.run import RunConfig
from spar_core.errors import ConfigError
from spar_core.evaluation import ifbench, ifeval
from spar_core.evaluation.data_sources import SOURCES, Benchmark, find_data, prompts_warning
from spar_core.evaluation.followbench import load_followbench
from spar_core.evaluation.llmbar import STRATEGIES, load_llmbar
from spar_core.hashing import digest
from spar_core.prompts import PromptLibrary
from spar_core.records import EvalScore, ModelRole
from storage.artifacts import ArtifactRef
from storage.home import Home
from tasks.benchmarks import BENCHMARK_ANSWERS, BENCHMARK_PROMPTS, INSTRUCTION_SCORES, log_scores
from tasks.calls import StageCall, Surroundings
from tasks.engines import ModelRef
from tasks.evaluation import EVAL_ACTOR, EVAL_PROMPTS, EVAL_REFINER
from tasks.general_ability import ABILITY, CODE_TASKS, SAFE_TASKS, require_harness
from tasks.judged_benchmarks import FOLLOWBENCH_SCORES, FOLLOWBENCH_VERDICTS, LLMBAR_SCORES, LLMBAR_VERDICTS, VOTES
from tasks.repairs import REFINEMENT_SCORES, REPAIRS, STARTER_SCORES
from tasks.stages import Stage

# Prefect types its own decorator for another runner than the one it ships.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=64)  # at most: orchestration.parallel_shards run at once
_NOT_RESULTS = {"home", "data_dir", "model", "refiner", "judge", "timeout_s", "retries"}  # models count by digest
_REFINERS = ("llmbar", "refinement")


@flow(name="benchmarks", flow_run_name="benchmarks", task_runner=_RUNNER)
def benchmarks(request: BenchmarkRequest) -> BenchmarkResult:
    """Run benchmarks; every stage is cached by content, so the same request resumes and other ones share its answers.

    Raises:
        ConfigError: what was asked for does not go together.
        SparError: data, a model or a server that cannot be used.
    """
    home, config = Home(request.home), request.configuration()
    bench = _Benchmarks(request, home, config)
    with opened_run(RunPlan(home, bench.run_id, config.model_dump(mode="json"), "run")):
        scores = [score for name in request.names() for score in bench.run(name)]
        log_scores(str(home.root), bench.run_id, bench.model.iteration, scores, bench.versions())
    return BenchmarkResult(
        bench.run_id, tuple(scores), bench.judge_name, tuple(dict.fromkeys(bench.notes)), tuple(bench.licences)
    )


class _Benchmarks:
    """Wires the stages of one request. Call `run` inside a flow."""

    def __init__(self, request: BenchmarkRequest, home: Home, config: RunConfig) -> None:
        self.notes: list[str] = []
        self.licences: list[str] = []
        self.judge_name: str | None = None
        self._request = request
        self._home = home
        self._config = config
        self._library = PromptLibrary.load(config.method.prompt_set)
        self.model = self._measured(request.model)
        self._refiner = self._measured(request.refiner) if request.refiner else self.model
        self._judge = self._chosen_judge()
        asked = request.model_dump(mode="json", exclude=_NOT_RESULTS)
        models = [model.served.model.digest for model in (self.model, self._refiner, self._judge) if model]
        self.run_id = f"eval-{request.benchmark}-{digest([asked, models, config.results_digest()])[:8]}"

    def versions(self) -> dict[ModelRole, Any]:
        """The registered versions that were measured, by role."""
        measured = (self.model, self._refiner)
        return {model.version.name: model.version for model in measured if model.version is not None}  # type: ignore[misc]

    def run(self, name: str) -> list[EvalScore]:
        """The scores of one benchmark."""
        ways: dict[str, Callable[[], list[ArtifactRef]]] = {
            "ifeval": lambda: [self._instructions("ifeval")],
            "ifbench": lambda: [self._instructions("ifbench")],
            "followbench": self._followbench,
            "llmbar": self._llmbar,
            "starter": lambda: [self._starter()],
            "refinement": lambda: [self._refinement()],
            "ability": lambda: [self._ability()],
        }
        return [score for artifact in ways[name]() for score in artifact.read("eval_scores")]

    def _chosen_judge(self) -> MeasuredModel | None:
        if "followbench" not in self._request.names():
            return None
        if self._request.judge is None and self._request.refiner is None and self._request.benchmark != "all":
            raise ConfigError(
                "FollowBench needs a judge for what no rule decides; name one: --judge REF (the published judge was "
                "GPT-4, scores of other judges are not comparable with published figures)"
            )
        if self._request.judge is None:
            return self._refiner
        return self._measured(self._request.judge)

    def _measured(self, reference: str) -> MeasuredModel:
        return measured_model(reference, self._home, self._config.engine, self._request.patience())

    def _role(self, name: str) -> ModelRole:
        registered = self.model.version.name if self.model.version else None
        default = registered or ("refiner" if name in _REFINERS else "actor")
        return self._request.role or ("refiner" if default == "refiner" else "actor")

    def _data(self, name: Benchmark) -> dict[str, ModelRef]:
        """The benchmark's data by content; what is not as published is noted."""
        folder = Path(self._request.data_dir) if self._request.data_dir else None
        own = self._request.prompts if name in ("ifeval", "ifbench") else None
        path = Path(own) if own else find_data(name, folder)
        if name in ("ifeval", "ifbench"):
            prompts = (ifeval if name == "ifeval" else ifbench).read_prompts(path)
            warning, content = "" if own else prompts_warning(name, prompts), prompts.digest
        else:
            loaded = load_llmbar(path) if name == "llmbar" else None
            parts = [loaded] if loaded else [load_followbench(path, language) for language in self._languages()]
            published = all(part.is_published for part in parts)
            warning = "" if published else f"{path} is not the published data; scores are not comparable"
            content = digest([part.data_digest for part in parts])
        self.notes += [warning] if warning else []
        self.licences += [] if own or SOURCES[name].licence in self.licences else [SOURCES[name].licence]
        return {"data": ModelRef(content, str(path.absolute()))}

    def _languages(self) -> tuple[Literal["en", "zh"], ...]:
        return self._request.languages or ("en", "zh")

    def _instructions(self, name: Benchmark) -> ArtifactRef:
        data, reads = self._data(name), {"benchmark": name, "limit": self._request.limit}
        prompts = self._stage(BENCHMARK_PROMPTS, name, {}, data, reads)
        answers = self._answers(name, prompts)
        models = {**data, "model": self.model.served.model}
        inputs = {"prompts": prompts, "answers": answers}
        return self._stage(INSTRUCTION_SCORES, name, inputs, models, {**reads, "role": self._role(name)})

    def _answers(self, name: str, prompts: ArtifactRef) -> ArtifactRef:
        sampling = ResponsesConfig(per_prompt=1, temperature=0.0, top_p=1.0, max_tokens=self._request.max_tokens)
        models = {"model": self.model.served.model}
        return self._stage(BENCHMARK_ANSWERS, name, {"prompts": prompts}, models, {"sampling": plain(sampling)})

    def _followbench(self) -> list[ArtifactRef]:
        data, judge = self._data("followbench"), self._judge or self._refiner
        self.judge_name = judge.name
        if judge.served.model.digest == self.model.served.model.digest:
            self.notes.append(f"the judge ({judge.name}) is the model under test: biased in its own favour")
        models = {**data, "model": self.model.served.model}
        found = []
        for language in self._languages():
            place = f"followbench-{language}"
            reads = {"benchmark": "followbench", "language": language, "limit": self._request.limit}
            prompts = self._stage(BENCHMARK_PROMPTS, place, {}, data, reads)
            answers = self._answers(place, prompts)
            inputs = {"prompts": prompts, "answers": answers}
            judged = {**reads, "role": self._role("followbench"), "judge": judge.name}
            asked = {**models, "judge": judge.served.model}
            verdicts = self._stage(FOLLOWBENCH_VERDICTS, place, inputs, asked, judged)
            found.append(self._stage(FOLLOWBENCH_SCORES, place, {"verdicts": verdicts}, models, judged))
        return found

    def _llmbar(self) -> list[ArtifactRef]:
        strategies = self._request.strategies or (VOTES, "Vanilla")
        unknown = [name for name in strategies if name not in (VOTES, *STRATEGIES)]
        if unknown:
            raise ConfigError(f"unknown LLMBar strategy {unknown[0]!r}; allowed: {VOTES}, {', '.join(STRATEGIES)}")
        data, reads = self._data("llmbar"), {"benchmark": "llmbar", "limit": self._request.limit}
        prompts = self._stage(BENCHMARK_PROMPTS, "llmbar", {}, data, reads)
        models = {**data, "refiner": self._refiner.served.model}
        role = "refiner" if self._request.refiner else self._role("llmbar")
        found = []
        for strategy in strategies:
            compared = {**reads, "strategy": strategy, "role": role, "evaluator": self._refiner.name}
            judging = {**compared, **self._judging()} if strategy == VOTES else compared
            verdicts = self._stage(LLMBAR_VERDICTS, strategy, {"prompts": prompts}, models, judging)
            found.append(self._stage(LLMBAR_SCORES, strategy, {"verdicts": verdicts}, models, compared))
        return found

    def _held_out(self, actor: ModelRef) -> dict[str, ArtifactRef]:
        """Held-out prompts and an actor's answers: the very artifacts of self-play's evaluation where it made them."""
        config = self._config.evaluation
        count = config.prompts if self._request.limit is None else min(config.prompts, self._request.limit)
        reads = {"source": config.source, "split": config.split, "count": count}
        prompts = self._stage(EVAL_PROMPTS, "", {}, {}, reads, seed=config.seed)
        sampling = {"samples": config.samples, "sampling": plain(config.actor)}
        answers = self._stage(EVAL_ACTOR, "", {"prompts": prompts}, {"actor": actor}, sampling, seed=config.seed)
        return {"prompts": prompts, "answers": answers}

    def _starter(self) -> ArtifactRef:
        held = self._held_out(self.model.served.model)
        models = {"actor": self.model.served.model}
        inputs = {"actor": held["answers"]}
        if self._request.refiner:
            models["refiner"] = self._refiner.served.model
            reads = {"items": self._config.evaluation.refiner_items, **self._mending()}
            seed = self._config.evaluation.seed
            inputs["refiner"] = self._stage(EVAL_REFINER, "", held, {"refiner": models["refiner"]}, reads, seed=seed)
        return self._stage(STARTER_SCORES, "", inputs, models, {})

    def _refinement(self) -> ArtifactRef:
        """With --refiner the model answers and the refiner mends; else the model mends what its run began with."""
        answering = self.model.served.model if self._request.refiner else self.model.first_actor(self._home)
        held = self._held_out(answering)
        reads = {"items": self._config.evaluation.refiner_items, **self._mending()}
        models = {"refiner": self._refiner.served.model}
        repairs = self._stage(REPAIRS, "", held, models, reads, seed=self._config.evaluation.seed)
        return self._stage(REFINEMENT_SCORES, "", {"repairs": repairs}, models, {})

    def _ability(self) -> ArtifactRef:
        require_harness()
        tasks = [*SAFE_TASKS, *(CODE_TASKS if self._request.unsafe_code else ())]
        if not self._request.unsafe_code:
            self.notes.append("HumanEval is left out: it executes what the model writes; --unsafe-code runs it")
        reads = {"tasks": tasks, "limit": self._request.limit, "role": self._role("ability")}
        return self._stage(ABILITY, "", {}, {"model": self.model.served.model}, reads)

    def _judging(self) -> dict[str, Any]:
        return {
            "judging": plain(self._config.method.judging.votes_alone()),
            "templates": self._library.digest_of("judge"),
        }

    def _mending(self) -> dict[str, Any]:
        method = self._config.method
        return {
            "judging": plain(method.judging.votes_alone()),
            "refinement": plain(method.refinement),
            "search": plain(method.search),
            "templates": self._library.digest_of("judge", "refine"),
        }

    def _stage(
        self,
        stage: Stage,
        place: str,
        inputs: dict[str, ArtifactRef],
        models: dict[str, ModelRef],
        reads: dict[str, Any],
        seed: int | None = None,
    ) -> ArtifactRef:
        """Run a stage under a name of its own: one run may hold a stage once per benchmark, language or strategy."""
        named = replace(stage, name=f"{stage.name}-{place}") if place else stage
        judge = self._judge or self._refiner
        engines = {
            "model": self.model.served.engine,
            "actor": self.model.served.engine,
            "refiner": self._refiner.served.engine,
            "judge": judge.served.engine,
        }
        call = StageCall(
            stage=named.name,
            version=named.version,
            home=str(self._home.root),
            run_id=self.run_id,
            iteration=self.model.iteration,
            seed=self._config.seed if seed is None else seed,
            inputs=inputs,
            models=models,
            config=reads,
            surroundings=Surroundings(
                engines=engines,
                orchestration=self._config.orchestration,
                prompt_set=self._config.method.prompt_set,
            ),
        )
        return named.run(call, parts=named.parts(inputs))
