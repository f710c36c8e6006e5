"""Stage `ability`: the benchmarks that training must not harm - GSM8K, TriviaQA, MMLU, HumanEval - by lm-eval.

lm-eval is an extra (`pip install "spar[ability]"`). The model is loaded by it, or asked through the chat API of the
server that serves it. A model with a chat template is asked with it, examples as earlier turns; the number of examples
is each task's own. Both are recorded, with the versions, as rows of `eval_items` (metric `settings`).
HumanEval executes what the model writes: it runs only where that was allowed.
"""

import importlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
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
from tasks.shards import ShardContext, ShardRows
from tasks.stages import Stage

BENCHMARK = "ability"
SAFE_TASKS = ("gsm8k", "triviaqa", "mmlu")
CODE_TASKS = ("humaneval",)
SETTINGS = "settings"
_BY_LIKELIHOOD = ("mmlu",)
_KEY_VARIABLE = "OPENAI_API_KEY"  # where lm-eval looks for the key of any server
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
    """The harness's results as scores; n from its sample counts, intervals from its standard errors.

    Where it gives none, or none that says anything (all samples alike), the interval is Wilson's: every task's metric
    is a share of samples. Of a number of samples that is not known nothing is known.

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
    if n == 0:
        return Estimate(value, 0.0, 1.0, 0)
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


def asked_tasks(engine: EngineConfig, *, unsafe_code: bool) -> tuple[list[str], list[str]]:
    """The tasks that can be measured on this engine, and why the others cannot."""
    tasks = [*SAFE_TASKS, *(CODE_TASKS if unsafe_code else ())]
    if not isinstance(engine, OpenAIEngineConfig):
        return tasks, []
    reason = "compares log-probabilities of a prompt, which a chat server does not give; measure the model's folder"
    left_out = [f"{task}: {reason}" for task in tasks if task in _BY_LIKELIHOOD]
    return [task for task in tasks if task not in _BY_LIKELIHOOD], left_out


class HarnessModel(NamedTuple):
    """The harness's name of a kind of model, its arguments, and whether it is asked as a chat."""

    kind: str
    arguments: dict[str, Any]
    chat: bool


def harness_model(engine: EngineConfig, model: ModelRef) -> HarnessModel:
    """How the harness asks a model.

    Raises:
        ConfigError: the harness cannot ask this kind of engine.
    """
    if isinstance(engine, TransformersEngineConfig):
        arguments: dict[str, Any] = {"pretrained": model.location, "dtype": engine.dtype}
        device = {} if engine.device == "auto" else {"device": engine.device}
        return HarnessModel("hf", {**arguments, **device}, _has_chat_template(Path(model.location)))
    if isinstance(engine, OpenAIEngineConfig):
        address = f"{engine.base_urls[0].rstrip('/')}/chat/completions"
        # Without a tokenizer of its own the harness needs no Hugging Face name: a served alias is enough.
        own = {"tokenizer_backend": None, "tokenized_requests": False}
        return HarnessModel("local-chat-completions", {"model": engine.model, "base_url": address, **own}, True)
    raise ConfigError(
        f"general ability cannot be measured through engine kind {engine.kind!r}; use `transformers`, or start the "
        "server yourself and give its address"
    )


def settings_of(artifact: ArtifactRef) -> list[str]:
    """How the tasks of an artifact were asked, a sentence each."""
    found = []
    for item in artifact.read("eval_items"):
        if item.metric == SETTINGS:
            said = json.loads(item.detail)
            form = "with the chat template" if said["chat_template"] else "without a chat template"
            found.append(f"{item.cluster_id}: {said['num_fewshot']} examples, {form}, lm-eval {said['lm_eval']}")
    return found


def _has_chat_template(folder: Path) -> bool:
    """Whether the model's tokenizer brings a chat template: then it was trained to answer chats."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template"))
    except (OSError, ValueError):
        return False


@contextmanager
def _key_of(engine: EngineConfig) -> Iterator[None]:
    """The server's key where lm-eval looks for it; never among its arguments, which it logs.

    Raises:
        ConfigError: the named variable is not set.
    """
    name = engine.api_key_env if isinstance(engine, OpenAIEngineConfig) else None
    if name is None:
        yield
        return
    if not os.environ.get(name):
        raise ConfigError(f"the environment variable {name} is not set; it should hold the server's key")
    before = os.environ.get(_KEY_VARIABLE)
    os.environ[_KEY_VARIABLE] = os.environ[name]
    try:
        yield
    finally:
        if before is None:
            del os.environ[_KEY_VARIABLE]
        else:
            os.environ[_KEY_VARIABLE] = before


def _measure(context: ShardContext) -> ShardRows:
    harness = require_harness()
    config, model = context.call.config, context.call.models["model"]
    engine = context.call.engines["model"]
    asked = harness_model(engine, model)
    tasks = list(config["tasks"])
    unsafe = any(task in CODE_TASKS for task in tasks)
    if unsafe:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    seed = context.call.seed
    with _key_of(engine):
        results = harness.simple_evaluate(
            model=asked.kind,
            model_args=asked.arguments,
            tasks=tasks,
            limit=config["limit"],
            apply_chat_template=asked.chat,
            fewshot_as_multiturn=asked.chat,
            confirm_run_unsafe_code=unsafe,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    scores = ability_scores(results, tasks, config["role"], model.digest)
    items = _items(results, tasks, config["role"], model.digest)
    settings = _settings(results, tasks, asked.chat, str(getattr(harness, "__version__", "")))
    for task, detail in settings.items():
        text = json.dumps(detail, sort_keys=True)
        items.append(
            EvalItem(BENCHMARK, config["role"], model.digest, f"{task}/{SETTINGS}", task, SETTINGS, None, text)
        )
    context.part.write("eval_items", items)
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


def _settings(results: Mapping[str, Any], tasks: Sequence[str], chat: bool, version: str) -> dict[str, dict[str, Any]]:
    """How each task was asked: the number of examples, the form, and the versions of task and harness."""
    return {
        task: {
            "num_fewshot": _of_task(results.get("n-shot", {}), task),
            "task_version": _of_task(results.get("versions", {}), task),
            "chat_template": chat,
            "fewshot_as_multiturn": chat,
            "lm_eval": version,
        }
        for task in tasks
    }


def _of_task(values: Mapping[str, Any], task: str) -> Any:
    """The value of a task, or of the first of its subtasks."""
    return values.get(task, next((value for name, value in values.items() if name.startswith(f"{task}_")), None))


def _sample_count(results: Mapping[str, Any], task: str) -> int:
    counts = results.get("n-samples", {})
    own = [entry for name, entry in counts.items() if name == task]
    parts = own or [entry for name, entry in counts.items() if name.startswith(f"{task}_")]
    return sum(int(entry.get("effective", entry.get("original", 0))) for entry in parts)


ABILITY = Stage("ability", version=2, work=_measure, stays=True)
