"""What a run shows in the Prefect UI besides its states."""

from collections.abc import Sequence

from prefect.artifacts import create_table_artifact

from flows.summary import COLUMNS, IterationRow


def publish_summary(run_id: str, rows: Sequence[IterationRow]) -> None:
    """The summary as a table artifact of the flow run."""
    key = "".join(character if character.isalnum() else "-" for character in run_id.lower()).strip("-")
    table = [dict(zip(COLUMNS, row.cells(), strict=True)) for row in rows]
    create_table_artifact(table=table, key=f"summary-{key}", description=f"Self-play run {run_id}")
