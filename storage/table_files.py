"""The Parquet files of a table: read as today's columns, and joined into one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.parts import ROW_GROUP_ROWS
from storage.schemas import from_batch, record_type, schema_of, to_batch

JOINED_BYTES = 64 * 2**20
"""Rows in memory from which on they are one row group of a joined file."""


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
    """Write the rows of several files into one, in their order, in row groups of many parts.

    A query over an object store asks once per row group and column.
    """
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    with pq.ParquetWriter(target, schema_of(record_type(table)), compression="zstd") as writer:
        for batch in (batch for path in files for batch in batches_of_today(table, path)):
            held.append(batch)
            held_bytes += batch.nbytes
            if held_bytes >= JOINED_BYTES:
                writer.write_table(pa.Table.from_batches(held))
                held, held_bytes = [], 0
        if held:
            writer.write_table(pa.Table.from_batches(held))
