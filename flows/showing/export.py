"""Tables of artifacts as plain Parquet files, for tools that know nothing of a home."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from storage.artifacts import ArtifactRef
from storage.disk import disk_errors
from storage.schemas import record_type, schema_of


def export_tables(artifacts: Iterable[ArtifactRef], folder: Path) -> dict[str, int]:
    """Write one `<table>.parquet` per table (rows of all artifacts that have it); returns the rows written.

    A few thousand rows are in memory at a time, however large the tables are.

    Raises:
        StorageError: the folder cannot be written.
    """
    gathered: dict[str, list[ArtifactRef]] = {}
    for artifact in artifacts:
        for name in artifact.rows:
            gathered.setdefault(name, []).append(artifact)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return {name: _export(name, holders, folder) for name, holders in sorted(gathered.items())}


def _export(table: str, holders: list[ArtifactRef], folder: Path) -> int:
    temporary = folder / f"{table}.parquet.tmp"
    rows = 0
    with pq.ParquetWriter(temporary, schema_of(record_type(table)), compression="zstd") as writer:
        for holder in holders:
            for batch in holder.batches(table):
                writer.write_batch(batch)
                rows += batch.num_rows
    os.replace(temporary, folder / f"{table}.parquet")
    return rows
