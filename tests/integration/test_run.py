"""`spar run` with real parts: server, flows, training subprocesses, Parquet, DuckDB, MLflow."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from storage.artifacts import ArtifactStore
from storage.catalog import Catalog, open_catalog
from storage.ledger import Ledger
from tests.integration.command_line import spar
from tests.integration.conftest import SMOKE, SmokeRun

UP_TO_THE_PAIRS = {"prompts", "responses", "judgements", "negatives", "trees", "pairs", "refiner_data"}
TRAININGS = {"warm_start_actor", "warm_start_refiner", "train_actor", "train_refiner"}
# What others rely on: the tables and columns that are stable.
CONTRACT = {
    "prompts": "prompt_id text constraints split source",
    "responses": "response_id prompt_id sample_index text finish_reason prompt_tokens completion_tokens "
    "model_digest seed",
    "votes": "response_id vote_index verdict critique finish_reason seed",
    "judgements": "response_id verdict yes_votes no_votes unparseable_votes value critique",
    "trees": "tree_id prompt_id root_response_id strategy stop_reason nodes_expanded accepted_node_id engine_seconds",
    "tree_nodes": "tree_id node_id parent_id depth visit_order response reflection critique value yes_votes no_votes "
    "unparseable_votes duplicate_of accepted finish_reason",
    "preference_pairs": "pair_id prompt_id tree_id chosen rejected value",
    "refiner_examples": "example_id kind source messages",
    "drops": "stage record_id reason detail",
    "models": "role iteration name version uri digest parent_digest train_stage_key",
    "eval_items": "benchmark role iteration model_digest item_id",
    "eval_scores": "benchmark role iteration model_digest metric value ci_low ci_high n",
    "stages": "run_id iteration stage stage_key state cached rows_in rows_out rows_dropped seconds artifact_uri",
    "lineage": "child_kind child_id parent_kind parent_id",
}


@pytest.fixture
def catalog(smoke_run: SmokeRun):
    with open_catalog(smoke_run.home) as opened:
        yield opened


def one(catalog: Catalog, sql: str) -> Any:
    (row,) = catalog.rows(sql)
    (value,) = row.values()
    return value


def test_it_prints_json_and_nothing_on_stderr(smoke_run):
    rows = smoke_run.printed["iterations"]
    assert [row["iteration"] for row in rows] == [0, 1]
    for row in rows:
        score = row["actor_accuracy"]
        assert 0.0 <= score["ci_low"] <= score["value"] <= score["ci_high"] <= 1.0
        assert score["n"] == 24
    assert rows[1]["pairs"] > 0
    assert smoke_run.process.stderr == ""


def test_the_run_is_entered_as_completed(smoke_run):
    run = Ledger(smoke_run.home).run(smoke_run.run_id)
    assert run.state == "completed"
    assert run.config["preset"] == "smoke"


def test_no_stage_loses_a_row_or_is_done_twice(smoke_run):
    stages = Ledger(smoke_run.home).stages(smoke_run.run_id)
    assert {stage.stage for stage in stages} >= UP_TO_THE_PAIRS | TRAININGS
    assert {stage.state for stage in stages} == {"completed"}
    in_iterations = [stage for stage in stages if stage.iteration is not None]
    assert [(stage.iteration, stage.stage) for stage in in_iterations if stage.cached] == [(1, "eval_prompts")]
    # Outside of iterations the gate looks at the champions' measurements, which are there already.
    assert all(stage.cached for stage in stages if stage.iteration is None)
    for stage in stages:
        assert stage.rows_in == stage.rows_out + stage.rows_dropped, stage.stage


@pytest.mark.parametrize("view", sorted(CONTRACT))
def test_a_view_has_the_columns_others_rely_on(catalog, view):
    found = catalog.query(f"SELECT * FROM {view} LIMIT 0").schema.names
    assert set(CONTRACT[view].split()) <= set(found)
    assert {"run_id", "iteration", "stage_key"} <= set(found)


def test_the_tables_fit_together(catalog):
    assert one(catalog, "SELECT count(*) FROM prompts") == 24
    assert one(catalog, "SELECT count(*) FROM responses") == 24 * 5
    assert one(catalog, "SELECT count(*) FROM responses ANTI JOIN prompts USING (prompt_id)") == 0
    votes = "SELECT response_id, count(*) AS n FROM votes GROUP BY ALL"
    assert one(catalog, f"SELECT count(*) FROM judgements ANTI JOIN ({votes}) USING (response_id)") == 0
    counted = "yes_votes + no_votes + unparseable_votes"
    assert one(catalog, f"SELECT min({counted}) FROM judgements") >= 5
    assert one(catalog, "SELECT count(*) FROM judgements WHERE verdict = 'YES' AND value <= 0.5") == 0


def test_pairs_come_from_trees_that_accepted_a_node(catalog):
    pairs = one(catalog, "SELECT count(*) FROM preference_pairs")
    assert pairs > 0
    joined = (
        "SELECT count(*) FROM preference_pairs p JOIN trees t USING (tree_id, prompt_id) "
        "JOIN tree_nodes n ON n.tree_id = t.tree_id AND n.node_id = t.accepted_node_id AND n.response = p.chosen "
        "JOIN tree_nodes r ON r.tree_id = t.tree_id AND r.parent_id IS NULL AND r.response = p.rejected"
    )
    assert one(catalog, joined) == pairs
    assert one(catalog, "SELECT count(*) FROM tree_nodes c WHERE parent_id IS NULL") == one(
        catalog, "SELECT count(*) FROM trees"
    )


def test_lineage_leads_from_the_last_actor_to_the_prompts_and_the_base_model(smoke_run, catalog):
    parents: dict[str, set[str]] = {}
    for row in catalog.rows("SELECT child_id, parent_id FROM lineage"):
        parents.setdefault(row["child_id"], set()).add(row["parent_id"])
    (actor,) = catalog.rows("SELECT digest, train_stage_key FROM models WHERE role = 'actor' AND iteration = 1")
    ancestors: set[str] = set()
    waiting = [actor["digest"]]
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in ancestors:
                ancestors.add(parent)
                waiting.append(parent)
    assert actor["train_stage_key"] in ancestors
    keys = {stage.stage: stage.stage_key for stage in Ledger(smoke_run.home).stages() if stage.iteration == 1}
    made_from = {keys[name] for name in ("prompts", "responses", "judgements", "negatives", "trees", "pairs")}
    assert made_from <= ancestors
    base = catalog.rows("SELECT parent_digest FROM models WHERE role = 'actor' AND iteration = 0")[0]["parent_digest"]
    assert base in ancestors
    known = {row["stage_key"] for row in catalog.rows("SELECT stage_key FROM artifacts")}
    digests = {row["digest"] for row in catalog.rows("SELECT digest FROM models")} | {base}
    assert ancestors <= known | digests


def test_the_gate_has_decided_on_every_version(smoke_run):
    from storage.registry import Registry

    decided = {(entry.role, entry.iteration): entry for entry in Ledger(smoke_run.home).promotions()}
    assert {place: entry.decision for place, entry in decided.items() if place[1] == 0} == {
        ("actor", 0): "first",
        ("refiner", 0): "first",
    }
    registry = Registry(smoke_run.home)
    for role, items in (("actor", 24), ("refiner", 12)):
        entry = decided[role, 1]
        assert entry.decision in ("promoted", "refused")
        assert (entry.champion_version, entry.n) == (1, items)
        assert entry.difference == pytest.approx(entry.value - entry.champion_value)
        assert entry.ci_low < entry.ci_high
        assert registry.decision(role, entry.version) == entry.decision
        champion = registry.champion(role)
        assert champion == registry.champion(role, entry.lineage)
        assert champion.version == (entry.version if entry.decision == "promoted" else 1)


def test_mlflow_holds_versions_with_parents_aliases_and_data(smoke_run):
    from mlflow import MlflowClient

    from storage.mlflow_store import tracking_uri
    from storage.registry import Registry

    client = MlflowClient(tracking_uri=tracking_uri(smoke_run.home), registry_uri=tracking_uri(smoke_run.home))
    pairs = next(stage for stage in Ledger(smoke_run.home).stages() if stage.stage == "pairs")
    pairs_artifact = ArtifactStore(smoke_run.home).get("pairs", pairs.stage_key)
    for role in ("actor", "refiner"):
        first, second = Registry(smoke_run.home).versions(role)
        assert (first.iteration, second.iteration) == (0, 1)
        aliases = client.get_registered_model(role).aliases
        assert int(aliases["candidate"]) == second.version
        assert int(aliases["champion"]) in (first.version, second.version)
        tags = client.get_model_version(role, str(second.version)).tags
        assert tags["spar.parent_version"] == str(first.version)
        assert tags["spar.parent_digest"] == first.digest
    tags = client.get_model_version("actor", "2").tags
    assert pairs_artifact.content_digest in json.dumps(dict(tags))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    trainings = client.search_runs(experiments, "tags.`spar.stage` = 'train_actor'")
    assert [entry.dataset.digest for entry in trainings[0].inputs.dataset_inputs] == [
        pairs_artifact.content_digest[:36]
    ]
    assert trainings[0].info.status == "FINISHED"
    assert "loss" in trainings[0].data.metrics


def test_mlflow_says_in_words_what_a_model_is(smoke_run):
    from storage.mlflow_store import connect

    said = connect(smoke_run.home).get_model_version("actor", "2").description
    ledger = Ledger(smoke_run.home)
    assert f"The actor of run `{smoke_run.run_id}` after iteration 1." in said
    assert "Trained from `actor/1` by `train_actor` on " in said
    assert "rows of `pairs`" in said
    (score,) = [row for row in said.splitlines() if row.startswith("| right answers, held-out prompts %")]
    assert re.fullmatch(r"\|[^|]+(\| \d+\.\d \[\d+\.\d, \d+\.\d\] ){2}\|", score)
    assert ledger.promotion(smoke_run.run_id, "actor", 2).reason in said
    assert "/models/actor/2)" in said
    assert f"/runs/{smoke_run.run_id}/1)" in said
    assert "[its report](http" in said
    assert "in Prefect](http" in said


def test_mlflow_holds_the_report_and_describes_the_run(smoke_run):
    from storage.mlflow_store import connect
    from storage.tracking import Tracker

    client, run_id = connect(smoke_run.home), smoke_run.run_id
    mlflow_run = Tracker(smoke_run.home).open_run(run_id)
    page = Path(client.download_artifacts(mlflow_run, "report.html")).read_text(encoding="utf-8")
    assert "Did it get better?" in page
    assert 'class="badge completed">completed<' in page  # it is made when the run has ended
    said = client.get_run(mlflow_run).data.tags["mlflow.note.content"]
    assert f"/runs/{mlflow_run}/artifacts/report.html)" in said
    assert f"/runs/{run_id})" in said
    assert "in Prefect](http" in said
    (iteration,) = client.search_runs(
        [Tracker(smoke_run.home).experiment], "tags.`spar.level` = 'iteration' AND tags.`spar.iteration` = '1'"
    )
    assert iteration.info.status == "FINISHED"
    assert f"/runs/{run_id}/1)" in iteration.data.tags["mlflow.note.content"]


def test_mlflow_shows_trees_and_prompts(smoke_run, catalog):
    from storage.mlflow_store import connect, experiment_id
    from storage.tracking import Tracker

    client = connect(smoke_run.home)
    traces = client.search_traces(locations=[experiment_id(client, smoke_run.home)], max_results=100)
    trees = {row["tree_id"]: row for row in catalog.rows("SELECT * FROM trees WHERE iteration = 1")}
    assert len(traces) == min(12, len(trees)) > 0
    for trace in traces:
        tree = trees[trace.info.tags["spar.tree_id"]]
        root = next(span for span in trace.data.spans if span.parent_id is None)
        assert root.name == f"{tree['strategy']}, {tree['stop_reason']}"
        assert sum("rewrite" in span.name for span in trace.data.spans) == tree["nodes_expanded"]
        assert trace.info.trace_metadata["mlflow.sourceRun"] == Tracker(smoke_run.home).open_iteration(
            smoke_run.run_id, 1
        )
    assert {prompt.name for prompt in client.search_prompts()} >= {"starter.judge", "starter.refine"}


def test_the_refiner_as_a_judge_is_in_the_table_the_catalogue_and_mlflow(smoke_run, catalog):
    from mlflow import MlflowClient

    from storage.mlflow_store import tracking_uri

    for row in smoke_run.printed["iterations"]:
        assert {"judge_precision", "judge_recall", "judge_recall_own", "judge_calibration_error"} <= set(row)
    judged = "SELECT metric, count(*) AS n FROM eval_items WHERE iteration = 1 AND metric LIKE 'judge%' GROUP BY ALL"
    counts = {row["metric"]: row["n"] for row in catalog.rows(judged)}
    assert counts["judge"] == 12
    assert 0 < counts["judge_own"] <= 12
    assert counts["judge_rewrite"] > 0
    client = MlflowClient(tracking_uri=tracking_uri(smoke_run.home), registry_uri=tracking_uri(smoke_run.home))
    model_id = client.get_model_version("refiner", "2").source.removeprefix("models:/")
    logged = {metric.key for metric in client.get_logged_model(model_id).metrics}
    assert {"judge_recall", "judge_calibration_error"} <= logged
    assert any(name.startswith("judge_recall/") for name in logged)


def test_prefect_recorded_every_flow_and_task_run_and_shows_the_judge(smoke_run):
    recorded = prefect_runs(smoke_run.home)
    pages = [name for name, _ in recorded["artifacts"] if name.startswith("judge-smoke-")]
    assert len(pages) == 2  # a version per iteration
    assert sorted(name for name, _ in recorded["flows"]) == ["iteration", "self_play", "warm_start"]
    assert {state for _, state in recorded["flows"]} == {"Completed"}
    names = [name for name, _ in recorded["tasks"]]
    stages = {stage.stage for stage in Ledger(smoke_run.home).stages(smoke_run.run_id)}
    assert stages <= {name.rsplit("-", 3)[0] if "-shard-" in name else name for name in names} | {
        name.rsplit("-", 1)[0] for name in names
    }
    assert {state for _, state in recorded["tasks"]} <= {"Completed", "Cached"}
    assert "register-1" in names


def test_running_it_again_does_nothing(smoke_run):
    before = snapshot(smoke_run.home.root)

    again = spar(*SMOKE, "--home", smoke_run.home.root)

    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout) == smoke_run.printed
    assert snapshot(smoke_run.home.root) == before  # no stage, no server, no training: no file was written


@pytest.mark.slow
def test_another_learning_rate_uses_everything_up_to_the_pairs(smoke_run):
    changed = ("--set", "training.actor.learning_rate=2.0e-4", "--set", "iterations=1")
    other = spar(*SMOKE, *changed, "--home", smoke_run.home.root)
    assert other.returncode == 0, other.stderr

    run_id = json.loads(other.stdout)["run_id"]
    assert run_id != smoke_run.run_id
    cached = {(stage.iteration, stage.stage): stage.cached for stage in Ledger(smoke_run.home).stages(run_id)}
    assert {stage for (_, stage), hit in cached.items() if hit} >= UP_TO_THE_PAIRS | {
        "warm_start_actor",
        "warm_start_refiner",
        "train_refiner",
        "eval_prompts",
        "eval_refiner",
    }
    assert {place for place, hit in cached.items() if not hit} == {
        (1, "train_actor"),
        (1, "eval_actor"),
        (1, "eval_votes"),
        (1, "eval_scores"),
    }
    tasks = dict(prefect_runs(smoke_run.home, run_id)["tasks"])
    assert {tasks[f"{stage}-1"] for stage in UP_TO_THE_PAIRS} == {"Cached"}
    assert tasks["train_actor-1"] == "Completed"


def snapshot(root: Path) -> dict[str, int]:
    """Every file that belongs to the run, by its time of change; readers may leave logs and locks alone."""
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def prefect_runs(home, run_id: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """(name, state) of the flow and task runs that the home's own server has recorded."""
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    from flows.serving.prefect_server import join_server, leave_server

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home.prefect))
        server = join_server(home)
        try:
            with SyncPrefectClient(server.api_url) as client:
                tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"run:{run_id}"])) if run_id else None
                flows = client.read_flow_runs(flow_run_filter=tagged)
                flow_names = {flow.id: flow.name for flow in client.read_flows()}
                artifacts = client.read_artifacts()
                tasks: list[Any] = []
                while page := client.read_task_runs(flow_run_filter=tagged, offset=len(tasks)):
                    tasks += page
        finally:
            leave_server(home)
    return {
        "flows": [(flow_names[run.flow_id], run.state_name) for run in flows],
        "tasks": [(run.name, run.state_name) for run in tasks],
        "artifacts": [(str(artifact.key), str(artifact.type)) for artifact in artifacts],
    }
