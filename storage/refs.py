"""A reference to a finished artifact: small enough to pass around, and the way to read its rows."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from spar_core.errors import StorageError
from storage.manifests import MODEL_FOLDER, Manifest, StoredTable, read_manifest
from storage.parts import DROPS_TABLE
from storage.remote_artifacts import bring_model, fetch_files
from storage.schemas import from_batch, record_type
from storage.table_files import batches, batches_of_today


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """One finished artifact. `rows` counts by table; `model_digest` is set where it holds a model."""

    stage: str
    stage_key: str
    content_digest: str
    rows: Mapping[str, int]
    model_digest: str | None
    folder: Path

    def __hash__(self) -> int:
        return hash((self.stage, self.stage_key, self.content_digest))

    @classmethod
    def of(cls, manifest: Manifest, folder: Path) -> "ArtifactRef":
        """The reference to the artifact that `manifest` describes."""
        rows: dict[str, int] = {}
        for part in manifest.parts:
            for table in part.tables:
                rows[table.table] = rows.get(table.table, 0) + table.rows
        return cls(manifest.stage, manifest.stage_key, manifest.content_digest, rows, manifest.model_digest, folder)

    @property
    def uri(self) -> str:
        """Path of the artifact relative to its home."""
        return "/".join(self.folder.parts[-3:])

    @property
    def model_folder(self) -> Path:
        """The model the artifact holds.

        Raises:
            StorageError: it holds none, or the object store that keeps it does not answer.
        """
        if self.model_digest is None:
            raise StorageError(f"the artifact of stage {self.stage!r} ({self.stage_key}) holds no model")
        bring_model(self.folder / MODEL_FOLDER)
        return self.folder / MODEL_FOLDER

    def manifest(self) -> Manifest:
        """Everything known about the artifact.

        Raises:
            StorageError: it is gone or unreadable.
        """
        manifest = read_manifest(self.folder)
        if manifest is None:
            raise StorageError(f"the artifact {self.folder} is gone or unreadable; run again to make it anew")
        return manifest

    def read(self, table: str, *, part: int | None = None) -> Iterator[Any]:
        """The records of a table in order, a few thousand in memory at a time; of one part only if given.

        Raises:
            StorageError: the artifact has no such table, or a file cannot be read.
        """
        yield from rows_of(self.folder, self._files(table, part))

    def batches(self, table: str) -> Iterator[pa.RecordBatch]:
        """The rows of a table as Arrow batches of today's columns, a few thousand rows in memory at a time.

        Raises:
            StorageError: the artifact has no such table, or a file cannot be read.
        """
        for stored in self._files(table, None):
            fetch_files(self.folder, (stored,))
            with _reading(self.folder / stored.path):
                yield from batches_of_today(table, self.folder / stored.path)

    def paths(self, table: str) -> tuple[Path, ...]:
        """The Parquet files of a table, in order of the parts.

        Raises:
            StorageError: the artifact has no such table, or its files are gone.
        """
        files = self._files(table, None)
        fetch_files(self.folder, files)
        return tuple(self.folder / stored.path for stored in files)

    def rows_in_part(self, table: str, part: int) -> int:
        """Number of a table's records in one part."""
        return sum(stored.rows for stored in self._files(table, part))

    def cut_of_part(self, part: int) -> str | None:
        """Which rows a part is about; null where there is no such part."""
        return next((entry.cut for entry in self.manifest().parts if entry.index == part), None)

    def _files(self, table: str, part: int | None) -> list[StoredTable]:
        record_type(table)
        parts = [entry for entry in self.manifest().parts if part is None or entry.index == part]
        if table not in self.rows and table != DROPS_TABLE:
            raise StorageError(
                f"the artifact of stage {self.stage!r} has no table {table!r}, only {', '.join(self.rows) or 'none'}"
            )
        return [stored for entry in parts for stored in entry.tables if stored.table == table]


def rows_of(artifact: Path, files: Iterable[StoredTable]) -> Iterator[Any]:
    """The records of some files of an artifact in order, a few thousand in memory at a time.

    Raises:
        StorageError: a file cannot be read.
    """
    for stored in files:
        fetch_files(artifact, (stored,))
        with _reading(artifact / stored.path):
            for batch in batches(artifact / stored.path):
                yield from from_batch(stored.table, batch)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read {path}: {error}; remove its artifact's folder and run again") from error
