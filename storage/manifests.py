"""Manifests: what an artifact consists of and where it came from. A manifest that matches its files means complete."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from spar_core.errors import StorageError
from spar_core.hashing import digest, file_digest
from storage.digests import RowsDigest
from storage.disk import read_json
from storage.schemas import OLDEST_SCHEMA, SCHEMA_VERSION

MANIFEST = "manifest.json"
MODEL_FOLDER = "model"
_log = logging.getLogger(__name__)


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Split = tuple[int, str]
StoredT = TypeVar("StoredT", bound=_Stored)


class StoredFile(_Stored):
    """One file, its path relative to the artifact's folder."""

    path: str
    bytes: int
    sha256: str


class StoredTable(StoredFile):
    """One Parquet file of a part."""

    table: str
    rows: int
    rows_digest: str

    @property
    def digest(self) -> RowsDigest:
        """Digest of the file's rows, to join with those of other parts."""
        return RowsDigest.from_hex(self.rows_digest, self.rows)


class PartManifest(_Stored):
    """One part: its tables, its dropped rows by reason, and the rows its work took in and gave out.

    `metrics` are counts of its work, such as completion tokens; those of an artifact are the sums over its parts.
    `cut` says which rows it is about: those of the first artifact that was cut into parts this way. Parts of several
    artifacts with one cut belong together. `split` is set where a stage cuts: (number of parts, digest of how all rows
    were cut into them).
    """

    schema_version: int = SCHEMA_VERSION
    index: int
    tables: tuple[StoredTable, ...] = ()
    drops: dict[str, int] = {}
    rows_in: int = 0
    rows_out: int = 0
    metrics: dict[str, float] = {}
    cut: str = ""
    split: Split | None = None

    def own_cut(self) -> str:
        """The cut of a part that is the first of its kind: a digest of its rows."""
        return digest([[table.table, table.rows, table.rows_digest] for table in self.tables])


class ArtifactInput(_Stored):
    """An artifact that a stage read."""

    stage: str
    stage_key: str
    content_digest: str


class Manifest(_Stored):
    """One artifact. `created` is UTC (ISO 8601); `config` is the part of the configuration the stage read.

    `model_digests` by role, `file_digests` of users' files and data sets by name, `engines` the settings of the models'
    engines that change answers, by role. `libraries` are the versions it was made with; they are in no key.
    """

    schema_version: int = SCHEMA_VERSION
    stage: str
    stage_key: str
    content_digest: str
    created: str
    code_version: str = ""
    rows_in: int
    rows_out: int
    drops: dict[str, int] = {}
    parts: tuple[PartManifest, ...] = ()
    model: tuple[StoredFile, ...] = ()
    model_digest: str | None = None
    inputs: tuple[ArtifactInput, ...] = ()
    model_digests: dict[str, str] = {}
    file_digests: dict[str, str] = {}
    engines: dict[str, Any] = {}
    data_digest: str = ""
    libraries: dict[str, str] = {}
    config: Any = None
    metrics: dict[str, float] = {}

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every file of the artifact but the manifests."""
        return tuple(table for part in self.parts for table in part.tables) + self.model


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of the artifact in `folder`; None where it is absent, unreadable, or of a schema long past.

    Raises:
        StorageError: a later version of spar wrote it.
    """
    return _read(folder / MANIFEST, Manifest)


def read_part_manifest(folder: Path) -> PartManifest | None:
    """The manifest of the part in `folder`; None where it is absent, unreadable, or of a schema long past.

    Raises:
        StorageError: a later version of spar wrote it.
    """
    return _read(folder / MANIFEST, PartManifest)


def damage(artifact: Path, files: tuple[StoredFile, ...], *, verify: bool) -> list[str]:
    """What is wrong with the files of an artifact, one line each; `verify` also reads them and compares checksums."""
    problems = []
    for file in files:
        path = artifact / file.path
        try:
            size = path.stat().st_size
        except OSError:
            problems.append(f"{file.path} is missing")
            continue
        if size != file.bytes:
            problems.append(f"{file.path} has {size} bytes instead of {file.bytes}")
        elif verify and file_digest(path) != file.sha256:
            problems.append(f"{file.path} does not match its checksum")
    return problems


def part_name(index: int) -> str:
    """Name of a part's folder."""
    return f"part-{index:05d}"


def model_files(folder: Path) -> tuple[StoredFile, ...]:
    """Every file of the model in an artifact, read for its checksum; none where it holds no model."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        StoredFile(
            path=f"{MODEL_FOLDER}/{path.relative_to(folder).as_posix()}",
            bytes=path.stat().st_size,
            sha256=file_digest(path),
        )
        for path in paths
    )


def _read(path: Path, kind: type[StoredT]) -> StoredT | None:
    fields = read_json(path)
    return None if fields is None else manifest_of(kind, fields, str(path))


def manifest_of(kind: type[StoredT], fields: Mapping[str, Any], path: str) -> StoredT | None:
    """The manifest that was written as these fields; None where it is none, or of a schema long past.

    Raises:
        StorageError: a later version of spar wrote it; `path` says where.
    """
    version = fields.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StorageError(
            f"{path} was written by a later version of spar (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade spar, or give this version its own --home"
        )
    if isinstance(version, int) and version < OLDEST_SCHEMA:
        _log.warning("%s is of schema %d, which is no longer read: it will be made again", path, version)
        return None
    try:
        return kind.model_validate(fields)
    except ValidationError:
        return None
