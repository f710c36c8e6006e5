"""Stage `ability`: the benchmarks that training must not harm - GSM8K, TriviaQA, MMLU, HumanEval - by lm-eval.

lm-eval is an extra (`pip install "spar[ability]"`). The model is loaded by it, or asked through the completions API of
the server that serves it. HumanEval executes what the model writes: it runs only where that was allowed.
"""

import importlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spar_core.engines.configuration import EngineConfig, OpenAIEngineConfig, TransformersEngineConfig
from spar_core.errors import ConfigError, DataError
from spar_core.evaluation.comparison import Observation, paired_change
from spar_core.evaluation.estimate import Estimate
from spar_core.evaluation.scores import score_record
from spar_core.evaluation.statistics import wilson
from spar_core.records import EvalItem, EvalScore, ModelRole
from storage.artifacts import ArtifactRef
from tasks.engines import ModelRef
from tasks.stages import ShardContext, ShardRows, Stage

BENCHMARK = "ability"
SAFE_TASKS = ("gsm8k", "triviaqa", "mmlu")
CODE_TASKS = ("humaneval",)
_Z = 1.959963984540054
# The metric of each task that the paper reports, in the harness's METRIC,FILTER form; the first present counts.
_METRICS: Mapping[str, tuple[str, ...]] = {
    "gsm8k": ("exact_match,strict-match", "exact_match,flexible-extract"),
    "triviaqa": ("exact_match,remove_whitespace", "exact_match,none"),
    "mmlu": ("acc,none",),
    "humaneval": ("pass@1,create_test", "pass@1,none"),
}


class Gate(NamedTuple):
    """Whether a model kept its general ability, and why or why not."""

    passed: bool
    reason: str


def ability_scores(results: Mapping[str, Any], tasks: Sequence[str], role: ModelRole, digest: str) -> list[EvalScore]:
    """The harness's results as scores; intervals from its standard errors, n from its sample counts.

    Raises:
        DataError: a task has no known metric in the results.
    """
    scores = []
    for task in tasks:
        measured = results.get("results", {}).get(task) or results.get("groups", {}).get(task) or {}
        metric = next((name for name in _METRICS[task] if name in measured), None)
        if metric is None:
            raise DataError(f"lm-eval's results hold no {' or '.join(_METRICS[task])} of {task}, only {list(measured)}")
        name, _, filtered = metric.partition(",")
        value, error = float(measured[metric]), measured.get(f"{name}_stderr,{filtered}")
        n = _sample_count(results, task)
        scores.append(score_record(BENCHMARK, role, digest, task, _estimate(value, error, n)))
    return scores


def _estimate(value: float, error: object, n: int) -> Estimate:
    """From the harness's standard error; of some groups it has none, and 0 where all samples agree: then Wilson's."""
    if not isinstance(error, (int, float)) or not math.isfinite(error) or error <= 0:
        return wilson(value * n, n)
    half = _Z * float(error)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n)


def ability_kept(before: ArtifactRef | None, after: ArtifactRef | None, margin: float) -> Gate:
    """Whether no task of `before` may have fallen by more than `margin` (fraction) in `after`.

    Compared are two artifacts of the stage `ability` that asked for the same tasks in the same way, sample by sample.
    What is unknown is not kept: a task that one of them lacks fails the gate.
    """
    if before is None or after is None:
        return Gate(False, "general ability was not measured")
    if before.manifest().config != after.manifest().config or _is_partial(after):
        return Gate(False, "general ability was not measured in the same way, on whole tasks")
    earlier, later = _by_task(before), _by_task(after)
    for task, samples in earlier.items():
        change = paired_change(samples, later.get(task, ()))
        if change is None:
            return Gate(False, f"general ability: {task} was not measured")
        if change.ci_low < -margin:
            shown = f"{change.shown(signed=True)} points on {change.n} samples"
            return Gate(False, f"general ability: {task} {shown}, margin {100 * margin:g}")
    held = f"general ability held within {100 * margin:g} points"
    return Gate(True, held) if earlier else Gate(False, "general ability was not measured")


def _is_partial(measured: ArtifactRef) -> bool:
    return measured.manifest().config.get("limit") is not None


def _by_task(measured: ArtifactRef) -> dict[str, list[Observation]]:
    """The samples of each task under the filter that its score is of."""
    found: dict[str, dict[str, list[Observation]]] = {}
    for item in measured.read("eval_items"):
        if item.value is not None:
            of_task = found.setdefault(item.metric, {})
            of_task.setdefault(item.detail, []).append(Observation(item.item_id, item.cluster_id, item.value))
    chosen = {}
    for task, filters in found.items():
        wanted = [name.partition(",")[2] for name in _METRICS.get(task, ())]
        chosen[task] = filters[next((name for name in wanted if name in filters), next(iter(filters)))]
    return chosen


def require_harness() -> Any:
    """The lm-eval package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("lm_eval")
    except ImportError as error:
        raise ConfigError(
            'general ability is measured with lm-eval, which is not installed: pip install "spar[ability]"'
        ) from error


def harness_model(engine: EngineConfig, model: ModelRef) -> tuple[str, dict[str, Any]]:
    """The harness's name of a kind of model, and its arguments.

    Raises:
        ConfigError: the harness cannot ask this kind of engine.
    """
    if isinstance(engine, TransformersEngineConfig):
        arguments: dict[str, Any] = {"pretrained": model.location, "dtype": engine.dtype}
        return "hf", arguments if engine.device == "auto" else {**arguments, "device": engine.device}
    if isinstance(engine, OpenAIEngineConfig):
        address = f"{engine.base_urls[0].rstrip('/')}/completions"
        # Without a tokenizer of its own the harness sends text; MMLU needs a server that echoes log-probabilities.
        return "local-completions", {"model": engine.model, "base_url": address, "tokenized_requests": False}
    raise ConfigError(
        f"general ability cannot be measured through engine kind {engine.kind!r}; use `transformers`, or start the "
        "server yourself and give its address"
    )


def _measure(context: ShardContext) -> ShardRows:
    harness = require_harness()
    config, model = context.call.config, context.call.models["model"]
    kind, arguments = harness_model(context.call.surroundings.engines["model"], model)
    tasks = list(config["tasks"])
    unsafe = any(task in CODE_TASKS for task in tasks)
    if unsafe:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    seed = context.call.seed
    results = harness.simple_evaluate(
        model=kind,
        model_args=arguments,
        tasks=tasks,
        limit=config["limit"],
        confirm_run_unsafe_code=unsafe,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    scores = ability_scores(results, tasks, config["role"], model.digest)
    context.part.write("eval_items", list(_items(results, tasks, config["role"], model.digest)))
    context.part.write("eval_scores", scores)
    return ShardRows(len(tasks), len(scores))


def _items(results: Mapping[str, Any], tasks: Sequence[str], role: ModelRole, digest: str) -> list[EvalItem]:
    """One item per sample the harness logged; MMLU's subtasks keep their own names in the item's id."""
    items = []
    for task, samples in (results.get("samples") or {}).items():
        parent = next((name for name in tasks if task == name or task.startswith(f"{name}_")), None)
        metric = None if parent is None else _METRICS[parent][0].partition(",")[0]
        for sample in samples if parent is not None else ():
            value, item_id = sample.get(metric), f"{task}/{sample.get('doc_id')}"
            if isinstance(value, (int, float)):
                detail = str(sample.get("filter", ""))
                items.append(EvalItem(BENCHMARK, role, digest, item_id, item_id, str(parent), float(value), detail))
    return items


def _sample_count(results: Mapping[str, Any], task: str) -> int:
    counts = results.get("n-samples", {})
    own = [entry for name, entry in counts.items() if name == task]
    parts = own or [entry for name, entry in counts.items() if name.startswith(f"{task}_")]
    return sum(int(entry.get("effective", entry.get("original", 0))) for entry in parts)


ABILITY = Stage("ability", version=1, work=_measure)
