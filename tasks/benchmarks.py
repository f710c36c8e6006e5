"""Stages of the benchmarks, the same for all: prompts, answers, a judge's verdicts, scores; and the way to MLflow.

Every stage takes the benchmark's data as its file `data`: a file or folder known by its content. What is asked and how
answers become scores says the benchmark itself (`spar_core.benchmarks`), found by its name in the configuration.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from prefect import task

from spar_core.benchmarks import benchmark
from spar_core.benchmarks.plugin import Asked, AskedBenchmark, JudgedBenchmark, Loaded, RuleBenchmark, Subject, item_id
from spar_core.config.method import ResponsesConfig
from spar_core.engines.base import Engine
from spar_core.evaluation.ifeval import MISSING_ANSWER
from spar_core.evaluation.samples import sampled_scores, without_signs
from spar_core.evaluation.scores import Score, score_records
from spar_core.evaluation.truncation import Truncation
from spar_core.records import EvalItem, EvalScore, ModelRole, Prompt
from spar_core.roles import Actor, Answered, Refiner, respond_all
from spar_core.roles.chats import converse_all
from storage.registry import ModelVersion, Registry
from tasks.judgements import refiner_of
from tasks.model_card import describe_models
from tasks.runtime import Runtime
from tasks.shards import ShardContext, ShardRows, write_in_parts
from tasks.stages import Stage

_LOADED = 8  # data sets kept in memory: shards of a stage share them


@dataclass(frozen=True, slots=True)
class _Judges:
    """Who a judged benchmark may ask, from a stage's call."""

    context: ShardContext
    role: str

    @property
    def name(self) -> str:
        """As the user calls the judge."""
        return str(self.context.call.config["evaluator"])

    @property
    def seed(self) -> int:
        """The run's."""
        return self.context.call.seed

    @property
    def prompts(self) -> Path | None:
        """The user's folder of judge prompts."""
        files = self.context.call.files
        return Path(files["judge_prompts"].location) if "judge_prompts" in files else None

    def engine(self) -> Engine:
        """The judge's engine."""
        return self.context.engine(self.role)

    def refiner(self) -> Refiner:
        """The refiner, voting as the configuration says."""
        return refiner_of(self.context)


def _prompts(context: ShardContext) -> ShardRows:
    bench, loaded = _benchmark(context), _loaded(context)
    prompts = bench.prompts(bench.chosen(loaded.content, context.call.config["limit"]))
    together = (lambda prompt: bench.chat_of(item_id(prompt))) if bench.multi_turn else None
    write_in_parts(context, "eval_prompts", prompts, together=together)
    context.part.write("drops", [replace(drop, stage=context.call.stage) for drop in loaded.left_out])
    return ShardRows(len(prompts) + len(loaded.left_out), len(prompts))


def _answers(context: ShardContext) -> ShardRows:
    return asyncio.run(_answer(context))


async def _answer(context: ShardContext) -> ShardRows:
    sampling = ResponsesConfig.model_validate(context.call.config["sampling"])
    limit = context.call.surroundings.orchestration.requests_in_flight
    actor = Actor(context.engine("model"), sampling, system=context.call.config.get("system", ""))
    prompts = answered = 0
    for table in ("eval_responses", "drops"):
        context.part.write(table, ())
    async for result in _asked_of(context, actor, sampling.per_prompt, limit):
        prompts += 1
        context.part.write("eval_responses", result.responses)
        if result.drop is None:
            answered += 1
        else:
            context.part.write("drops", [replace(result.drop, stage=context.call.stage)])
    return ShardRows(prompts, answered)


async def _asked_of(context: ShardContext, actor: Actor, samples: int, limit: int) -> AsyncIterator[Answered]:
    """The prompts of the shard with their answers, in order."""
    held, seed = context.read("prompts", "eval_prompts"), context.call.seed
    chat_of = _chats(context)
    if chat_of is None:
        async for result in respond_all(held, actor, seed, max_requests_in_flight=limit):
            yield result
        return
    chats = (list(turns) for _, turns in groupby(held, chat_of))
    async for turns in converse_all(chats, actor, seed, samples=samples, max_requests_in_flight=limit):
        for result in turns:
            yield result


def _chats(context: ShardContext) -> Callable[[Prompt], str] | None:
    """Names the chat a prompt is a turn of; null where every prompt is asked alone."""
    name = context.call.config.get("chats_of")
    if name is None:
        return None
    bench = cast("AskedBenchmark", benchmark(name))
    return lambda prompt: bench.chat_of(item_id(prompt))


def _measure(context: ShardContext) -> ShardRows:
    """Verdicts and scores by rule; a prompt the engine refused has its reason in the item's detail."""
    bench, who, items, scores = cast("RuleBenchmark", _benchmark(context)), _who(context), [], []
    for sample in range(_samples(context)):
        asked = _asked(context, sample)
        measured = bench.measure(_chosen(context), asked, who)
        items += _of_answers(context, measured.items, asked, sample)
        scores.append(measured.scores)
    context.part.write("eval_items", items)
    _write_scores(context, [*_over_samples(context, items, scores), *_truncation(context)])
    return ShardRows(len(asked), len(asked))


def _verdicts(context: ShardContext) -> ShardRows:
    return asyncio.run(_judge(context))


async def _judge(context: ShardContext) -> ShardRows:
    """A judge's verdicts on this shard's items; what the judge said stays in the items' detail."""
    bench = cast("JudgedBenchmark", _benchmark(context))
    judges = _Judges(context, bench.judge)
    for sample in range(_samples(context)):
        asked = _asked(context, sample, context.shard)
        items = await bench.judged(_chosen(context), asked, judges, _who(context), _reads(context))
        context.part.write("eval_items", _of_answers(context, items, asked, sample))
    return ShardRows(len(asked), len(asked))


def _scores(context: ShardContext) -> ShardRows:
    bench = cast("JudgedBenchmark", _benchmark(context))
    verdicts = context.call.inputs["verdicts"]
    content, who, reads = _chosen(context), _who(context), _reads(context)
    if _samples(context) == 1:
        scores = bench.scores(content, verdicts.read("eval_items"), who, reads)
    else:
        items = list(verdicts.read("eval_items"))
        apart = [[item for item in items if item.sample == sample] for sample in range(_samples(context))]
        scores = _over_samples(context, items, [bench.scores(content, each, who, reads) for each in apart])
    _write_scores(context, [*scores, *_truncation(context)])
    rows = verdicts.manifest().rows_out
    return ShardRows(rows, rows)


def _samples(context: ShardContext) -> int:
    found: int = context.call.config.get("samples", 1)
    return found


def _of_answers(
    context: ShardContext, items: Iterable[EvalItem], asked: Sequence[Asked], sample: int
) -> list[EvalItem]:
    """The items with the answer each is about, which one it is of several, and how it was asked for."""
    answers = {row.item_id: row.response.response_id for row in asked if row.response is not None}
    settings = context.call.config.get("settings", "")
    return [
        replace(
            item,
            settings=settings,
            sample=sample,
            response_id=next((answers[name] for name in _answered_names(item) if name in answers), ""),
        )
        for item in items
    ]


def _answered_names(item: EvalItem) -> tuple[str, ...]:
    """Names of the prompt an item may be about: its own, that of which it is an instruction (`NAME#2`), its cluster."""
    return (item.item_id, item.item_id.rpartition("#")[0], item.cluster_id)


def _over_samples(
    context: ShardContext, items: Sequence[EvalItem], scores: Sequence[Sequence[Score]]
) -> Sequence[Score]:
    return scores[0] if len(scores) == 1 else sampled_scores(items, scores, context.call.config["pass_k"])


def _asked(context: ShardContext, sample: int, part: int | None = None) -> list[Asked]:
    """Every prompt with one of its answers or the reason for none; of one part, or of all."""
    prompts, answers = context.call.inputs["prompts"], context.call.inputs.get("answers")
    given = () if answers is None else answers.read("eval_responses", part=part)
    found = {row.prompt_id: row for row in given if row.sample_index == sample}
    reasons = {} if answers is None else {drop.record_id: drop.reason for drop in answers.read("drops", part=part)}
    return [
        Asked(item_id(prompt), found.get(prompt.prompt_id), reasons.get(prompt.prompt_id, MISSING_ANSWER))
        for prompt in prompts.read("eval_prompts", part=part)
    ]


def _truncation(context: ShardContext) -> Sequence[Any]:
    """The share of the model's answers that the token limit cut; none where no model answered."""
    if "answers" not in context.call.inputs:
        return ()
    answers = context.call.inputs["answers"].read("eval_responses")
    return Truncation(answer.finish_reason for answer in answers).scores()


def _write_scores(context: ShardContext, scores: Sequence[Any]) -> None:
    name, settings = _benchmark(context).filed_as(_reads(context)), context.call.config.get("settings", "")
    records = score_records(name, *_who(context), scores)
    context.part.write("eval_scores", [replace(record, settings=settings) for record in records])


def _who(context: ShardContext) -> Subject:
    """Whose scores these are: the model that answered, else the one that compared."""
    models = context.call.models
    return Subject(context.call.config["role"], models["model" if "model" in models else "refiner"].digest)


def _benchmark(context: ShardContext) -> AskedBenchmark:
    return cast("AskedBenchmark", benchmark(context.call.config["benchmark"]))


def _chosen(context: ShardContext) -> Any:
    return _benchmark(context).chosen(_loaded(context).content, context.call.config["limit"])


def _reads(context: ShardContext) -> dict[str, Any]:
    """What the part of the benchmark says of itself, and the rest of the stage's configuration."""
    config = context.call.config
    return {**config, **config["data"]}


def _loaded(context: ShardContext) -> Loaded:
    data, config = context.call.files["data"], context.call.config
    return _read(config["benchmark"], data.location, data.digest, json.dumps(config["data"], sort_keys=True))


@lru_cache(maxsize=_LOADED)
def _read(name: str, path: str, digest: str, reads: str) -> Loaded:
    """`digest`: another content at the same place is read anew."""
    return cast("AskedBenchmark", benchmark(name)).load(Path(path), json.loads(reads))


@task(name="log_scores", task_run_name="log-scores-{run_id}")
def log_scores(
    home: str, run_id: str, iteration: int | None, scores: Sequence[EvalScore], versions: dict[ModelRole, ModelVersion]
) -> None:
    """Scores to MLflow: on the evaluation's run, and on the model version where the model is a registered one.

    A version shows one value per metric: those of the standard settings alone.
    """
    runtime = Runtime.of(home)
    tracker = runtime.tracking.tracker
    mlflow_run = tracker.open_run(run_id)
    for role, settings in dict.fromkeys((score.role, score.settings) for score in scores):
        those = [score for score in scores if (score.role, score.settings) == (role, settings)]
        metrics = {f"{score.benchmark}/{without_signs(score.metric)}": score.value for score in those}
        version = None if settings else versions.get(role)
        if version is None:
            tracker.log_metrics(mlflow_run, metrics, step=iteration or 0)
        else:
            Registry(runtime.home).log_scores(version, metrics, mlflow_run)
    describe_models(runtime.home, [(role, version.version) for role, version in versions.items()])


BENCHMARK_PROMPTS = Stage("benchmark_prompts", version=2, work=_prompts, splits=True)
BENCHMARK_ANSWERS = Stage(
    "benchmark_answers", version=1, work=_answers, sharded_by="prompts", rows_of=("prompts", "eval_prompts")
)
BENCHMARK_MEASURES = Stage("benchmark_measures", version=1, work=_measure)
BENCHMARK_VERDICTS = Stage(
    "benchmark_verdicts", version=1, work=_verdicts, sharded_by="prompts", data=("spar_core.prompts/judges",)
)
BENCHMARK_SCORES = Stage("benchmark_scores", version=1, work=_scores)
