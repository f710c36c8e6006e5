"""`spar experiment` with real parts: killed between its variants, resumed, one variant broken."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from flows.experiments.outcome import ExperimentOutcome
from storage.home import Home
from storage.ledger import Ledger
from storage.mlflow_store import tracking_uri
from tests.integration.command_line import spar, started

FILE = """
name: tiny
preset: smoke
set:
  prompts.per_iteration: 12
  evaluation.prompts: 12
  evaluation.refiner_items: 8
variants:
  spar:
  best_of_n: {method.pairs.method: best_of_n}
  broken: {models.actor: /no/such/model}
baseline: best_of_n
search_curve: {budgets: [1, 3], strategies: [bfs], prompts: 6, iterations: [last]}
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_between_variants_it_goes_on_and_reports_the_broken_one(tmp_path):
    file, home = tmp_path / "tiny.yaml", Home(tmp_path / "home")
    file.write_text(FILE, encoding="utf-8")
    command = ("experiment", file, "--home", home.root, "--json")

    process = started(*command)
    try:
        while "completed" not in {run.state for run in _variants(home)}:
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    (first,) = (run for run in _variants(home) if run.state == "completed")
    before = _manifests(home)

    done = spar(*command, timeout=900)
    assert done.returncode == 1, done.stderr
    outcome = ExperimentOutcome.model_validate_json(done.stdout)
    assert before.items() <= _manifests(home).items()  # nothing finished was made again

    runs = {run.variant: run for run in outcome.runs}
    assert [run.complete for run in outcome.runs] == [True, True, False]
    assert runs["spar"].run_id == first.run_id
    assert "/no/such/model" in runs["broken"].reason
    assert [row.dpo_steps for row in runs["spar"].iterations] == [0, 2]
    assert runs["spar"].iterations[1].tokens > 0
    shared = {"prompts", "responses", "judgements", "eval_prompts"}
    cached = {stage.stage for stage in Ledger(home).stages(runs["best_of_n"].run_id) if stage.cached}
    assert shared <= cached

    (pair, _) = outcome.comparisons
    assert (pair.variant, pair.baseline) == ("spar", "best_of_n")
    assert {"accuracy", "fix_rate"} <= {entry.metric for entry in pair.differences}
    assert [(point.strategy, point.budget) for point in outcome.curve] == [("none", 0), ("bfs", 1), ("bfs", 3)]
    assert [point.accuracy.n for point in outcome.curve] == [6, 6, 6]

    folder = home.root / "experiments" / "tiny"
    assert json.loads((folder / "results.json").read_text()) == json.loads(done.stdout)
    assert "broken, seed 0 is not complete" in (folder / "report.html").read_text()
    _mlflow_shows_the_variants_below_the_experiment(home, folder)
    _runs_copied_elsewhere_give_the_same_page(home, file, outcome, tmp_path / "elsewhere")


def _runs_copied_elsewhere_give_the_same_page(home: Home, file: Path, outcome: ExperimentOutcome, root: Path) -> None:
    """Seeds of several homes are brought together so."""
    for folder in ("artifacts", "runs"):
        shutil.copytree(home.root / folder, root / folder)
    done = spar("experiment", file, "--home", root, "--report-only", "--json", timeout=300)
    copied = ExperimentOutcome.model_validate_json(done.stdout)
    assert (copied.runs[:2], copied.comparisons, copied.curve) == (outcome.runs[:2], outcome.comparisons, outcome.curve)


def _mlflow_shows_the_variants_below_the_experiment(home: Home, folder: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri(home))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (parent,) = client.search_runs(experiments, "tags.`spar.level` = 'experiment'")
    children = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    states = {run.data.tags["spar.variant"]: run.info.status for run in children}
    assert states == {"spar": "FINISHED", "best_of_n": "FINISHED", "broken": "FAILED"}
    assert {entry.path for entry in client.list_artifacts(parent.info.run_id)} == {
        path.name for path in folder.iterdir()
    }


def _variants(home: Home) -> list:
    return [run for run in Ledger(home).runs() if not run.run_id.startswith("experiment-")]


def _manifests(home: Home) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in home.artifacts.glob("stage=*/stage_key=*/manifest.json")}
