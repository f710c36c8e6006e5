"""The Parquet files of a table: read as today's columns, and joined into one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.parts import ROW_GROUP_ROWS
from storage.schemas import from_batch, record_type, schema_of, to_batch


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file as they are written, a few thousand in memory at a time."""
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=ROW_GROUP_ROWS)


def batches_of_today(table: str, path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file in today's columns: those that an older version lacks take the fields' defaults."""
    today = schema_of(record_type(table))
    for batch in batches(path):
        yield batch if batch.schema.equals(today) else to_batch(table, list(from_batch(table, batch)))


def join(table: str, files: Sequence[Path], target: Path) -> None:
    """Write the rows of several files into one, in their order."""
    with pq.ParquetWriter(target, schema_of(record_type(table)), compression="zstd") as writer:
        for path in files:
            for batch in batches_of_today(table, path):
                writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
