"""What a run shows in the Prefect UI besides its states."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.exceptions import PrefectException

from flows.showing.judge_summary import Judge, judge_report
from flows.showing.summary import COLUMNS, IterationRow
from flows.wiring.health import HEALTH_COLUMNS, Health
from spar_core.errors import StorageError
from storage import places
from storage.addresses import mlflow_page, view_page
from storage.artifacts import ArtifactStore
from storage.entries import StageRun
from storage.home import Home
from storage.ledger import Ledger
from storage.manifest_figures import drop_reasons, tokens
from tasks.progress import artifact_key
from tasks.runtime import Runtime

_log = logging.getLogger(__name__)


def publish_summary(run_id: str, rows: Sequence[IterationRow]) -> None:
    """The summary as a table artifact of the flow run."""
    table = [dict(zip(COLUMNS, row.cells(), strict=True)) for row in rows]
    create_table_artifact(table=table, key=artifact_key("summary", run_id), description=f"Self-play run {run_id}")


def publish_health(run_id: str, rows: Sequence[Health]) -> None:
    """What of everything the models wrote could be used, as a table artifact of the flow run."""
    table = [dict(zip(HEALTH_COLUMNS, row.cells(), strict=True)) for row in rows]
    create_table_artifact(table=table, key=artifact_key("loop", run_id), description=f"What {run_id} could not use")


def publish_judge(run_id: str, judge: Judge) -> None:
    """An iteration's refiner as a judge; the iterations of a run are versions of one Markdown artifact."""
    description = f"Refiner of {run_id} after iteration {judge.iteration}, as a judge"
    create_markdown_artifact(markdown=judge_report(judge), key=artifact_key("judge", run_id), description=description)


@contextmanager
def stages_shown(home: Home, run_id: str, iteration: int, *, tracked: bool = True) -> Iterator[None]:
    """Show the stages of an iteration as a table of the flow run when the block ends, however it ends, with links.

    A UI that does not answer never stops the work.
    """
    try:
        yield
    finally:
        try:
            _publish_stages(home, run_id, iteration, tracked=tracked)
        except (PrefectException, httpx.HTTPError, OSError, StorageError) as error:
            _log.warning("the stages of iteration %d are not shown in Prefect: %s", iteration, error)


def _publish_stages(home: Home, run_id: str, iteration: int, *, tracked: bool) -> None:
    store = ArtifactStore(home)
    stages = [stage for stage in Ledger(home).stages(run_id) if stage.iteration == iteration]
    key = artifact_key(run_id, str(iteration))
    create_table_artifact(
        table=[_stage_row(store, stage) for stage in stages],
        key=f"stages-{key}",
        description=f"Stages of {run_id}, iteration {iteration}; the artifacts lie in {home.root}",
    )
    create_link_artifact(
        link=home.artifacts.as_uri(), link_text="Artifacts", key=f"artifacts-{key}", description=str(home.artifacts)
    )
    create_link_artifact(
        link=view_page(home, places.iteration(run_id, iteration)),
        link_text="Look into it",
        key=f"view-{key}",
        description=f"Its trees, pairs, votes and scores, open while `spar view` or `spar ui --home {home.root}` runs",
    )
    create_link_artifact(
        link=view_page(home, places.report(run_id)),
        link_text="Report",
        key=f"report-{key}",
        description=f"The run on one page, also to mail, open while `spar view` or `spar ui --home {home.root}` runs",
    )
    if tracked:
        tracker = Runtime.of(str(home.root)).tracking.tracker
        link = mlflow_page(home, tracker.open_run(run_id), tracker.experiment)
        said = f"The run in MLflow, open while `spar ui --home {home.root}` runs"
        create_link_artifact(link=link, link_text="MLflow", key=f"mlflow-{key}", description=said)


def _stage_row(store: ArtifactStore, stage: StageRun) -> dict[str, str]:
    artifact = store.get(stage.stage, stage.stage_key)
    manifest = None if artifact is None or stage.state != "completed" else artifact.manifest()
    how = "cached" if stage.cached else "computed"
    return {
        "stage": stage.stage,
        "state": how if stage.state == "completed" else f"{stage.state}: {stage.detail}".removesuffix(": "),
        "rows in": _shown(stage.rows_in),
        "rows out": _shown(stage.rows_out),
        "dropped": _shown(stage.rows_dropped),
        "reasons": "" if manifest is None else drop_reasons(manifest),
        "seconds": _shown(stage.seconds),
        "tokens": "" if manifest is None else _shown(tokens(manifest)),
        "artifact": stage.artifact_uri or "",
    }


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else f"{value}"
