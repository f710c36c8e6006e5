"""Writing one part of an artifact: records stream into Parquet files, a manifest ends it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from spar_core.hashing import digest, file_digest
from storage.digests import RowsDigest
from storage.disk import disk_errors, sync, write_json
from storage.manifests import MANIFEST, PartManifest, Split, StoredTable
from storage.schemas import record_type, row_identity, schema_of, to_batch

ROW_GROUP_ROWS = 2048  # a few MB of text: what a writer and a reader hold in memory at once
DROPS_TABLE = "drops"


def split_of(slices: Sequence[RowsDigest]) -> Split:
    """What says of every part of a cut which cut it belongs to, from the digests of the rows in each."""
    return len(slices), digest([[rows.rows, rows.hex()] for rows in slices])


class PartWriter:
    """Streams records into the tables of one part. For one thread at a time."""

    def __init__(self, folder: Path, name: str, index: int, cut: str | None = None, split: Split | None = None) -> None:
        """`folder` is written now, `name` is what it will be called inside the artifact.

        `cut` is null for a part that is about nobody else's rows; `split` as in the part's manifest.
        """
        self._folder = folder
        self._name = name
        self._index = index
        self._cut = cut
        self.split = split
        self._tables: dict[str, _TableWriter] = {}
        self._drops: Counter[str] = Counter()
        self._rows = (0, 0)
        self._metrics: dict[str, float] = {}
        self._stored: tuple[StoredTable, ...] | None = None

    def write(self, table: str, records: Iterable[Any]) -> None:
        """Append records to a table; without records the table exists, empty.

        Raises:
            StorageError: unknown table, a record that does not fit it, or the disk is full.
        """
        writer = self._tables.get(table)
        if writer is None:
            writer = self._tables[table] = _TableWriter(table, self._folder / f"{table}.parquet")
        for record in records:
            writer.add(record)
            if table == DROPS_TABLE:
                self._drops[record.reason] += 1

    def account(self, *, rows_in: int, rows_out: int) -> None:
        """State how many rows the work on this part took in and gave out; checked against its drops at commit."""
        self._rows = (rows_in, rows_out)

    def measure(self, metrics: Mapping[str, float]) -> None:
        """Note counts of the work on this part (tokens, steps); an artifact's are the sums over its parts."""
        self._metrics.update(metrics)

    def rows_of(self, table: str) -> RowsDigest:
        """Digest of the rows written to a table so far; all of them are in its file then."""
        return self._tables[table].flushed()

    def seal(self) -> None:
        """Close the files: nothing is written any more, and nothing held, until the part is finished."""
        self._stored = tuple(writer.finish(f"{self._name}/{writer.path.name}") for writer in self._tables.values())

    def finish(self) -> PartManifest:
        """Close the files and write the part's manifest, which is given back."""
        if self._stored is None:
            self.seal()
        manifest = PartManifest(
            index=self._index,
            tables=self._stored or (),
            drops=dict(sorted(self._drops.items())),
            rows_in=self._rows[0],
            rows_out=self._rows[1],
            metrics=self._metrics,
            split=self.split,
        )
        manifest = manifest.model_copy(update={"cut": manifest.own_cut() if self._cut is None else self._cut})
        write_json(self._folder / MANIFEST, manifest.model_dump(mode="json"))
        return manifest

    def abandon(self) -> None:
        """Close the files, whatever they hold."""
        for writer in self._tables.values():
            writer.abandon()


class _TableWriter:
    def __init__(self, table: str, path: Path) -> None:
        self.path = path
        self._table = table
        self._buffer: list[Any] = []
        self._digest = RowsDigest()
        with disk_errors(path):
            self._file = _open(path)
            self._writer = pq.ParquetWriter(self._file, schema_of(record_type(table)), compression="zstd")

    def add(self, record: Any) -> None:
        self._buffer.append(record)
        if len(self._buffer) >= ROW_GROUP_ROWS:
            self._flush()

    def flushed(self) -> RowsDigest:
        self._flush()
        return self._digest

    def finish(self, stored_path: str) -> StoredTable:
        self._flush()
        with disk_errors(self.path):
            self._writer.close()
            self._file.flush()
            sync(self._file.fileno())
            self._file.close()
            return StoredTable(
                path=stored_path,
                bytes=self.path.stat().st_size,
                sha256=file_digest(self.path),
                table=self._table,
                rows=self._digest.rows,
                rows_digest=self._digest.hex(),
            )

    def abandon(self) -> None:
        with suppress(OSError, pa.ArrowException, ValueError):
            self._writer.close()
        with suppress(OSError):
            self._file.close()

    def _flush(self) -> None:
        if not self._buffer:
            return
        batch = to_batch(self._table, self._buffer)
        with disk_errors(self.path):
            self._writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
        for record in self._buffer:
            self._digest = self._digest.add(row_identity(self._table, record))
        self._buffer.clear()


def _open(path: Path) -> IO[bytes]:
    return path.open("wb")
