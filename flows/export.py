"""Tables of artifacts as plain Parquet files, for tools that know nothing of a home."""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.artifacts import ArtifactRef
from storage.disk import disk_errors


def export_tables(artifacts: Iterable[ArtifactRef], folder: Path) -> dict[str, int]:
    """Write one `<table>.parquet` per table (rows of all artifacts that have it); returns the rows written.

    Raises:
        StorageError: the folder cannot be written.
    """
    gathered: dict[str, list[ArtifactRef]] = {}
    for artifact in artifacts:
        for name in artifact.rows:
            gathered.setdefault(name, []).append(artifact)
    counts = {}
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, holders in sorted(gathered.items()):
            whole = pa.concat_tables([holder.table(name) for holder in holders], promote_options="default")
            temporary = folder / f"{name}.parquet.tmp"
            pq.write_table(whole, temporary, compression="zstd")
            os.replace(temporary, folder / f"{name}.parquet")
            counts[name] = whole.num_rows
    return counts
