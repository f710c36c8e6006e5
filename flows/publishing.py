"""What a run shows in the Prefect UI besides its states."""

from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.health import HEALTH_COLUMNS, Health
from flows.judge_summary import Judge, judge_report
from flows.summary import COLUMNS, IterationRow


def publish_summary(run_id: str, rows: Sequence[IterationRow]) -> None:
    """The summary as a table artifact of the flow run."""
    table = [dict(zip(COLUMNS, row.cells(), strict=True)) for row in rows]
    create_table_artifact(table=table, key=f"summary-{_key(run_id)}", description=f"Self-play run {run_id}")


def publish_health(run_id: str, rows: Sequence[Health]) -> None:
    """What of everything the models wrote could be used, as a table artifact of the flow run."""
    table = [dict(zip(HEALTH_COLUMNS, row.cells(), strict=True)) for row in rows]
    create_table_artifact(table=table, key=f"loop-{_key(run_id)}", description=f"What {run_id} could not use")


def publish_judge(run_id: str, judge: Judge) -> None:
    """An iteration's refiner as a judge; the iterations of a run are versions of one Markdown artifact."""
    description = f"Refiner of {run_id} after iteration {judge.iteration}, as a judge"
    create_markdown_artifact(markdown=judge_report(judge), key=f"judge-{_key(run_id)}", description=description)


def _key(run_id: str) -> str:
    """Artifact keys hold small letters, digits and dashes alone."""
    return "".join(character if character.isalnum() else "-" for character in run_id.lower()).strip("-")
