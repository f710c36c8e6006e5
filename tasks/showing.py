"""The task that shows an iteration in MLflow: its trees as traces, its prompts in the prompt registry."""

import logging

from prefect import task

from spar_core.prompts import PromptLibrary
from storage.artifacts import ArtifactRef
from storage.prompt_registry import log_prompts
from tasks.runtime import Runtime
from tasks.tree_traces import log_trees

_log = logging.getLogger(__name__)


@task(name="show", task_run_name="show-{iteration}")
def show_iteration(
    home: str,
    run_id: str,
    iteration: int,
    prompt_set: str,
    prompts: ArtifactRef,
    trees: ArtifactRef | None,
    traces: int,
) -> None:
    """Log up to `traces` trees, and the prompts that judged and rewrote them. What goes wrong is a warning."""
    runtime = Runtime.of(home)
    try:
        mlflow_run = runtime.tracking.tracker.open_iteration(run_id, iteration)
        log_prompts(runtime.home, prompt_set, PromptLibrary.load(prompt_set).texts, mlflow_run)
        if trees is not None:
            shown = log_trees(runtime.home, run_id, iteration, trees, prompts, traces, mlflow_run)
            _log.info("%d trees are shown as traces in MLflow", shown)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with showing it, the iteration is done
        _log.warning("iteration %d is not shown in MLflow: %s: %s", iteration, type(error).__name__, error)
