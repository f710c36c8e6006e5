"""The files of artifacts in an object store: sent under names that hold their checksums, fetched once per machine."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from spar_core.hashing import digest
from storage.disk import disk_errors
from storage.manifests import Manifest, StoredFile, StoredTable, damage
from storage.remote import Remote
from storage.table_files import join

_AT_ONCE = 8
_SHORT = 12  # digits of a checksum in a name


class RemoteFiles:
    """Files between the working folder and the store. `folder` is always an artifact's place in the former."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._objects = remote.objects

    def send(self, folder: Path, files: Sequence[StoredFile]) -> None:
        """Write what the store does not have yet.

        Raises:
            StorageError: the store does not answer.
        """
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda file: self._send(folder, file), files))

    def send_joined(self, folder: Path, manifest: Manifest) -> None:
        """Write each table of several parts as one object too: whoever asks for all of it opens one file, not hundreds.

        Raises:
            StorageError: the store does not answer.
        """
        work = self._remote.root / "work"
        work.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            for table, files in _filled(manifest).items():
                key = _joined_key(folder, table, files)
                if len(files) > 1 and self._objects.about(key) is None:
                    target = Path(scratch) / f"{table}.parquet"
                    join(table, [folder / file.path for file in files], target)
                    self._objects.write(key, target)

    def fetch(self, folder: Path, files: Sequence[StoredFile]) -> bool:
        """Copy what the folder lacks, one process of a machine at a time; False where the store has lost some of it.

        Raises:
            StorageError: the store does not answer, or the disk is full.
        """
        if not missing(folder, files):
            return True
        with (
            _alone(self._remote.root / "work" / "fetching" / f"{digest([str(folder)])}.lock"),
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            return all([*pool.map(lambda file: self._copy(folder, file), missing(folder, files))])

    def addresses(self, folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
        """Every table that has rows, with the files to read it from: paths where they are here, else addresses."""
        for table, files in _filled(manifest).items():
            away = missing(folder, files)
            if away and len(files) > 1:
                yield table, self._objects.address(_joined_key(folder, table, files))
                continue
            for file in files:
                yield table, self._objects.address(_key(folder, file)) if file in away else str(folder / file.path)

    def _send(self, folder: Path, file: StoredFile) -> None:
        there = self._objects.about(_key(folder, file))
        if there is None or there.bytes != file.bytes:
            self._objects.write(_key(folder, file), folder / file.path)

    def _copy(self, folder: Path, file: StoredFile) -> bool:
        final = folder / file.path
        beside = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
        with disk_errors(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                arrived = self._objects.fetch(_key(folder, file), beside, file.sha256)
                if arrived:
                    os.replace(beside, final)
                return arrived
            finally:
                beside.unlink(missing_ok=True)


def prefix(folder: Path) -> str:
    """What the keys of all objects of an artifact begin with."""
    return f"artifacts/{folder.parent.name}/{folder.name}"


def missing(folder: Path, files: Sequence[StoredFile]) -> list[StoredFile]:
    """Those of the files that are not here in their size."""
    return [file for file in files if damage(folder, (file,), verify=False)]


def _filled(manifest: Manifest) -> dict[str, list[StoredTable]]:
    found: dict[str, list[StoredTable]] = {}
    for part in manifest.parts:
        for file in part.tables:
            if file.rows:
                found.setdefault(file.table, []).append(file)
    return found


def _key(folder: Path, file: StoredFile) -> str:
    path = Path(file.path)
    return f"{prefix(folder)}/{path.parent.as_posix()}/{path.stem}-{file.sha256[:_SHORT]}{path.suffix}"


def _joined_key(folder: Path, table: str, files: Sequence[StoredTable]) -> str:
    return f"{prefix(folder)}/joined/{table}-{digest([file.sha256 for file in files])[:_SHORT]}.parquet"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
