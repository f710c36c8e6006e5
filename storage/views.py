"""The SQL of the catalogue: views over Parquet files and over the ledger's tables."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from spar_core.hashing import canonical_json
from storage.artifacts import Damaged, Whole
from storage.entries import ModelEntry, Promotion, Run, StageRun
from storage.lineage import Edge
from storage.schemas import TABLES, clean_text, schema_of

# Times are stored in UTC without a zone, so that clients print them as they are.
_TIME = pa.timestamp("us")

_RUNS = {
    "run_id": pa.string(),
    "state": pa.string(),
    "created": _TIME,
    "ended": _TIME,
    "config": pa.string(),
    "activity": pa.string(),
    "activity_state": pa.string(),
    "activity_started": _TIME,
    "activity_ended": _TIME,
    "detail": pa.string(),
    "flow_run": pa.string(),
}
_STAGES = {
    "run_id": pa.string(),
    "iteration": pa.int64(),
    "stage": pa.string(),
    "stage_key": pa.string(),
    "state": pa.string(),
    "cached": pa.bool_(),
    "rows_in": pa.int64(),
    "rows_out": pa.int64(),
    "rows_dropped": pa.int64(),
    "seconds": pa.float64(),
    "artifact_uri": pa.string(),
    "started": _TIME,
    "ended": _TIME,
    "detail": pa.string(),
}
_MODELS = {
    "run_id": pa.string(),
    "iteration": pa.int64(),
    "stage_key": pa.string(),
    "role": pa.string(),
    "name": pa.string(),
    "version": pa.int64(),
    "uri": pa.string(),
    "digest": pa.string(),
    "parent_digest": pa.string(),
    "train_stage_key": pa.string(),
}
_PROMOTIONS = {
    "run_id": pa.string(),
    "iteration": pa.int64(),
    "stage_key": pa.string(),
    "role": pa.string(),
    "version": pa.int64(),
    "champion_version": pa.int64(),
    "lineage": pa.string(),
    "metric": pa.string(),
    "value": pa.float64(),
    "champion_value": pa.float64(),
    "difference": pa.float64(),
    "ci_low": pa.float64(),
    "ci_high": pa.float64(),
    "n": pa.int64(),
    "decision": pa.string(),
    "reason": pa.string(),
    "time": _TIME,
}
_EDGES = dict.fromkeys(Edge._fields, pa.string())
_ARTIFACTS = {
    "stage": pa.string(),
    "stage_key": pa.string(),
    "state": pa.string(),
    "content_digest": pa.string(),
    "model_digest": pa.string(),
    "rows_in": pa.int64(),
    "rows_out": pa.int64(),
    "bytes": pa.int64(),
    "tokens_read": pa.int64(),
    "tokens_written": pa.int64(),
    "created": _TIME,
    "uri": pa.string(),
    "problem": pa.string(),
}

_TOKENS = {"tokens_read": "prompt_tokens", "tokens_written": "completion_tokens"}

# Measurements from before these columns were made under the standard settings, one answer per item.
_MEASURED = ("eval_items", "eval_scores")
_LATER = {"settings": "''", "sample": "0", "response_id": "''"}

# Relations that views are made of; users see the views only.
INTERNAL = "internal"
TRAININGS = f"{INTERNAL}.trainings"
"""The trainings that made a version out of its parent: those of shared weights are two, one on the other's model."""

# In an order in which they can be created: what one reads stands before it.
LEDGER_VIEWS: Mapping[str, str] = {
    # The runs and iterations that used an artifact: one that two runs share appears under both.
    f"{INTERNAL}.users": f"SELECT DISTINCT run_id, iteration, stage_key FROM {INTERNAL}.stages",
    "runs": f"SELECT * FROM {INTERNAL}.runs",
    "stages": f"SELECT * FROM {INTERNAL}.stages",
    "models": f"SELECT * FROM {INTERNAL}.models",
    "promotions": f"SELECT * FROM {INTERNAL}.promotions",
    "artifacts": f"SELECT * FROM {INTERNAL}.artifacts",
    "lineage": f"""
        SELECT child_kind, child_id, parent_kind, parent_id, run_id, iteration, stage_key, parent_name
        FROM {INTERNAL}.lineage LEFT JOIN {INTERNAL}.users USING (stage_key)""",
    TRAININGS: """
        WITH RECURSIVE found(role, version, parent_digest, stage_key) AS (
            SELECT role, version, parent_digest, train_stage_key FROM models WHERE train_stage_key IS NOT NULL
            UNION
            SELECT f.role, f.version, f.parent_digest, made.parent_id FROM found f
            JOIN lineage begun ON begun.child_kind = 'artifact' AND begun.child_id = f.stage_key
            AND begun.parent_kind = 'model' AND begun.parent_name = 'start' AND begun.parent_id <> f.parent_digest
            JOIN lineage made ON made.child_kind = 'model' AND made.child_id = begun.parent_id
            AND made.parent_kind = 'artifact')
        SELECT DISTINCT role, version, stage_key FROM found""",
}


def runs_table(runs: Iterable[Run]) -> pa.Table:
    """The ledger's runs with what was done with them last; the configuration as JSON text."""
    return _table([_run_row(entry) for entry in runs], _RUNS)


def _run_row(run: Run) -> dict[str, Any]:
    row = run.model_dump(exclude={"activity"}) | {"config": canonical_json(run.config)}
    if run.activity is None:
        return row
    doing = run.activity
    times = {"activity_started": doing.started, "activity_ended": doing.ended}
    names = {"activity": doing.name, "activity_state": doing.state, "detail": doing.detail, "flow_run": doing.flow_run}
    return row | names | times


def stages_table(stages: Iterable[StageRun]) -> pa.Table:
    """The ledger's stages."""
    return _table([entry.model_dump() for entry in stages], _STAGES)


def models_table(models: Iterable[ModelEntry]) -> pa.Table:
    """The registered model versions."""
    return _table([entry.model_dump() | {"stage_key": entry.train_stage_key} for entry in models], _MODELS)


def promotions_table(promotions: Iterable[Promotion]) -> pa.Table:
    """What the gate decided."""
    return _table([entry.model_dump() for entry in promotions], _PROMOTIONS)


def lineage_table(edges: Iterable[Edge]) -> pa.Table:
    """The edges of the lineage graph."""
    return _table([edge._asdict() for edge in edges], _EDGES)


def artifacts_table(whole: Iterable[Whole], damaged: Iterable[Damaged]) -> pa.Table:
    """Every artifact, whole or damaged, also those no run refers to."""
    rows: list[dict[str, Any]] = []
    for ref, manifest in whole:
        facts = manifest.model_dump(include={"content_digest", "model_digest", "rows_in", "rows_out"})
        size = sum(file.bytes for file in manifest.files)
        created = datetime.fromisoformat(manifest.created)
        place = {"stage": ref.stage, "stage_key": ref.stage_key, "uri": ref.uri}
        tokens = {name: manifest.metrics.get(metric) for name, metric in _TOKENS.items()}
        counts = {name: None if count is None else int(count) for name, count in tokens.items()}
        rows.append(facts | place | counts | {"state": "whole", "bytes": size, "created": created})
    for folder, problems in damaged:
        names = {"stage": folder.parent.name.partition("=")[2], "stage_key": folder.name.partition("=")[2]}
        rows.append(names | {"state": "damaged", "uri": str(folder), "problem": "; ".join(problems)})
    return _table(rows, _ARTIFACTS)


def record_view(table: str, columns: Sequence[str], files: Sequence[str]) -> str:
    """The query of a record table's view: the files' rows under each run and iteration that used them.

    An empty table with today's columns stands first, so that a home without files, or with files of an older version
    that lack a column, has the same view.
    """
    source = f"SELECT * FROM {INTERNAL}.empty_{table}"
    if files:
        source += f" UNION ALL BY NAME {_scan(table, files)}"
    chosen = ", ".join(_column(table, name) for name in columns)
    stage = "" if "stage" in columns else "r.stage, "
    return f"""
        SELECT u.run_id, u.iteration, r.stage_key, {stage}{chosen}
        FROM ({source}) r JOIN {INTERNAL}.users u USING (stage_key)"""


def quoted(text: str | Path) -> str:
    """A SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def _scan(table: str, files: Sequence[str]) -> str:
    # Folders above the home may have names like `seed=7` too: only the last three of a file's path count.
    listed = ", ".join(quoted(path) for path in files)
    place = "/stage=([^/]+)/stage_key=([^/]+)/[^/]+/[^/]+$"
    key = f"regexp_extract(filename, '{place}', 2) AS stage_key"
    stage = f", regexp_extract(filename, '{place}', 1) AS stage"
    if "stage" in schema_of(TABLES[table]).names:
        stage = ""  # the table's own column is more exact than the folder's
    options = "union_by_name=true, hive_partitioning=false, filename=true"
    return f"SELECT * EXCLUDE (filename), {key}{stage} FROM read_parquet([{listed}], {options})"


def _column(table: str, name: str) -> str:
    if (table, name) == ("prompts", "constraints"):
        # `id` is the published name of what the records call `kind`.
        shape = "{'id': c.kind, 'kind': c.kind, 'kwargs': c.kwargs}"
        return f"list_transform(r.constraints, lambda c: {shape}) AS constraints"
    return f"coalesce(r.{name}, {_LATER[name]}) AS {name}" if table in _MEASURED and name in _LATER else f"r.{name}"


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    shown = [{name: _shown(row.get(name)) for name in columns} for row in rows]
    return pa.Table.from_pylist(shown, schema=pa.schema(columns))


def _shown(value: Any) -> Any:
    """Times without their zone; texts, such as what a stage failed with, as Arrow can hold them."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else clean_text(value)
