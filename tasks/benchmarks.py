"""Stages of the benchmarks: read the prompts, let a model answer, score by rule; and the scores' way to MLflow.

Every stage takes the benchmark's data as its file `data`: a file or folder known by its content.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from prefect import task

from spar_core.config.method import ResponsesConfig
from spar_core.evaluation import ifbench, ifeval
from spar_core.evaluation.followbench import FollowBench, load_followbench
from spar_core.evaluation.ifeval import MISSING_ANSWER, score_answers
from spar_core.evaluation.ifeval_rows import Answer, PromptSet
from spar_core.evaluation.llmbar import LLMBar, load_llmbar
from spar_core.evaluation.scores import score_records
from spar_core.hashing import content_id
from spar_core.records import EvalScore, ModelRole, Prompt, Response
from spar_core.roles import Actor, respond_all
from storage.registry import ModelVersion, Registry
from tasks.runtime import Runtime
from tasks.stages import ShardContext, ShardRows, Stage, write_in_parts

_SEPARATOR = "/"


class Asked(NamedTuple):
    """What became of one prompt: the answer, or the reason why there is none."""

    item_id: str
    response: Response | None
    reason: str


def item_id(prompt: Prompt) -> str:
    """The benchmark's own name of a prompt: its `source` is BENCHMARK/ITEM."""
    return prompt.source.partition(_SEPARATOR)[2]


def prompt_record(benchmark: str, item: str, text: str, constraints: Any = ()) -> Prompt:
    """A benchmark's prompt; equal texts stay separate items."""
    source = f"{benchmark}{_SEPARATOR}{item}"
    return Prompt(content_id("benchmark", source, text), text, tuple(constraints), "test", source)


def prompt_set(context: ShardContext) -> PromptSet:
    """The chosen prompts of IFEval or IFBench."""
    config = context.call.config
    whole = _read_prompt_set(config["benchmark"], *_data(context))
    chosen = tuple(evenly(whole.prompts, config["limit"]))
    if len(chosen) == len(whole.prompts):
        return whole
    by_text: dict[str, tuple[int, ...]] = {}
    for position, prompt in enumerate(chosen):
        by_text[prompt.text.strip()] = (*by_text.get(prompt.text.strip(), ()), position)
    by_key = {str(prompt.key): position for position, prompt in enumerate(chosen)}
    return replace(whole, prompts=chosen, by_key=by_key, by_text=by_text)


def followbench(context: ShardContext) -> FollowBench:
    """The chosen groups of FollowBench: `limit` counts rows, groups stay whole."""
    config = context.call.config
    whole = _read_followbench(config["language"], *_data(context))
    groups = list(dict.fromkeys(key[:2] for key in whole.items))
    limit = config["limit"]
    chosen = set(evenly(groups, None if limit is None else max(1, limit // 5)))
    return replace(whole, items={key: item for key, item in whole.items.items() if key[:2] in chosen})


def llmbar(context: ShardContext) -> LLMBar:
    """The chosen instances of LLMBar."""
    whole = _read_llmbar(*_data(context))
    chosen = {instance.item_id for instance in evenly(whole.instances(), context.call.config["limit"])}
    return restricted(whole, chosen)


def restricted(bench: LLMBar, item_ids: set[str]) -> LLMBar:
    """LLMBar with these instances alone."""
    subsets = {name: tuple(row for row in rows if row.item_id in item_ids) for name, rows in bench.subsets.items()}
    return replace(bench, subsets=subsets)


def evenly(items: Sequence[Any], limit: int | None) -> list[Any]:
    """`limit` items at even distances, so that every part of a benchmark is met; all where it is null."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def asked(context: ShardContext, part: int | None = None) -> list[Asked]:
    """Every prompt with its answer or the reason for none; of one part, or of all."""
    answers, prompts = context.call.inputs["answers"], context.call.inputs["prompts"]
    found = {response.prompt_id: response for response in answers.read("eval_responses", part=part)}
    reasons = {drop.record_id: drop.reason for drop in answers.read("drops", part=part)}
    return [
        Asked(item_id(prompt), found.get(prompt.prompt_id), reasons.get(prompt.prompt_id, MISSING_ANSWER))
        for prompt in prompts.read("eval_prompts", part=part)
    ]


def _data(context: ShardContext) -> tuple[str, str]:
    """Where the data lies, and its digest: what is kept in memory is asked for by both."""
    data = context.call.files["data"]
    return data.location, data.digest


@lru_cache(maxsize=4)
def _read_prompt_set(benchmark: str, path: str, digest: str) -> PromptSet:
    return ifeval.read_prompts(Path(path)) if benchmark == ifeval.NAME else ifbench.read_prompts(Path(path))


@lru_cache(maxsize=2)
def _read_followbench(language: Any, path: str, digest: str) -> FollowBench:
    return load_followbench(Path(path), language)


@lru_cache(maxsize=1)
def _read_llmbar(path: str, digest: str) -> LLMBar:
    return load_llmbar(Path(path))


def _prompts(context: ShardContext) -> ShardRows:
    benchmark = context.call.config["benchmark"]
    if benchmark == "followbench":
        asked_items = followbench(context).asked()
        prompts = [prompt_record(benchmark, item.item_id, item.instruction) for item in asked_items]
    elif benchmark == "llmbar":
        prompts = [prompt_record(benchmark, row.item_id, row.instruction) for row in llmbar(context).instances()]
    else:
        chosen = prompt_set(context).prompts
        prompts = [prompt_record(benchmark, str(row.key), row.text, row.instructions) for row in chosen]
    write_in_parts(context, "eval_prompts", prompts)
    return ShardRows(len(prompts), len(prompts))


def _answers(context: ShardContext) -> ShardRows:
    return asyncio.run(_answer(context))


async def _answer(context: ShardContext) -> ShardRows:
    sampling = ResponsesConfig.model_validate(context.call.config["sampling"])
    limit = context.call.surroundings.orchestration.requests_in_flight
    actor = Actor(context.engine("model"), sampling)
    prompts = answered = 0
    for table in ("eval_responses", "drops"):
        context.part.write(table, ())
    held = context.read("prompts", "eval_prompts")
    async for result in respond_all(held, actor, context.call.seed, max_requests_in_flight=limit):
        prompts += 1
        context.part.write("eval_responses", result.responses)
        if result.drop is None:
            answered += 1
        else:
            context.part.write("drops", [replace(result.drop, stage=context.call.stage)])
    return ShardRows(prompts, answered)


def _instruction_scores(context: ShardContext) -> ShardRows:
    """Verdicts by the benchmark's rules; a prompt the engine refused is unscored, with its reason."""
    prompts, role = prompt_set(context), context.call.config["role"]
    rows = asked(context)
    given = [
        Answer(row.item_id, (prompts.by_key[row.item_id],), row.response.text)
        for row in rows
        if row.response is not None
    ]
    report = score_answers(prompts, given)
    reasons = {row.item_id: row.reason for row in rows if row.response is None}
    digest = context.call.models["model"].digest
    items = [
        replace(item, detail=reasons[item.cluster_id]) if item.cluster_id in reasons else item
        for item in report.records(role, digest)
    ]
    context.part.write("eval_items", items)
    context.part.write("eval_scores", score_records(report.benchmark, role, digest, report.scores))
    return ShardRows(len(rows), len(rows))


@task(name="log_scores", task_run_name="log-scores-{run_id}")
def log_scores(
    home: str, run_id: str, iteration: int | None, scores: Sequence[EvalScore], versions: dict[ModelRole, ModelVersion]
) -> None:
    """Scores to MLflow: on the evaluation's run, and on the model version where the model is a registered one."""
    runtime = Runtime.of(home)
    tracker = runtime.tracking.tracker
    mlflow_run = tracker.open_run(run_id)
    for role in dict.fromkeys(score.role for score in scores):
        metrics = {f"{score.benchmark}/{score.metric}": score.value for score in scores if score.role == role}
        version = versions.get(role)
        if version is None:
            tracker.log_metrics(mlflow_run, metrics, step=iteration or 0)
        else:
            Registry(runtime.home).log_scores(version, metrics, mlflow_run)
    tracker.close(mlflow_run, "completed")


BENCHMARK_PROMPTS = Stage("benchmark_prompts", version=1, work=_prompts, splits=True)
BENCHMARK_ANSWERS = Stage(
    "benchmark_answers", version=1, work=_answers, sharded_by="prompts", rows_of=("prompts", "eval_prompts")
)
INSTRUCTION_SCORES = Stage("instruction_scores", version=1, work=_instruction_scores)
