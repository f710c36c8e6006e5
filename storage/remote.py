"""A home in an object store: what of it lies there, and the working folder that every machine has of it.

    s3://bucket/prefix/home.json                              layout, and the random id this home is known by
                      /lease.json                             who works on it (`storage.lease`)
                      /runs/...  /models/*.json               the ledger, pins and known servers, as in a folder
                      /index/stage=<stage>/stage_key=<key>.json   manifests: what is listed here is complete
                      /artifacts/stage=<stage>/stage_key=<key>/...   (`storage.remote_artifacts`)
                      /journal/<stage>/<key>/shard-00003.sqlite   completions of parts that were broken off
                      /mlflow/mlflow.db                       MLflow's SQLite database, as of less than a minute ago

Everything else (checkpoints, logs, Prefect's database, files that MLflow keeps of runs) is the worker's own. A working
folder is a home like any other, with a file that names its store; what is missing in it is fetched when it is needed.
"""

import json
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from spar_core.errors import StorageError
from spar_core.hashing import digest
from storage.disk import disk_errors, json_text, read_json, write_json, write_text
from storage.lease import Lease
from storage.manifests import MANIFEST
from storage.objects import Stored, object_store

WORK_VARIABLE = "SPAR_WORK"
LEASE_S = 60.0
"""Seconds after its last sign of life until a worker counts as dead; a living one gives a sign every third of it."""
_NAMED = "store.json"
_TAGS = "store-tags.json"
_RECORD = "home.json"
_INDEX = "index"
_LISTED = ("runs", "models", _INDEX)
_DATABASE = "mlflow/mlflow.db"
_AT_ONCE = 16
_ID_BYTES = 8
_LOOK_AGAIN_S = 5.0
_log = logging.getLogger(__name__)


def working_folder(url: str) -> Path:
    """The folder in which this machine works on the home at `url`, made at its first use.

    Below `$SPAR_WORK`, else the user's cache; it may be deleted whenever nobody works there.

    Raises:
        StorageError: it cannot be made.
    """
    top = os.environ.get(WORK_VARIABLE)
    base = Path(top) if top else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "spar"
    folder = base.absolute() / f"{url.rpartition('/')[2]}-{digest([url])[:8]}"
    if read_json(folder / _NAMED) != {"url": url}:
        with disk_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(folder / _NAMED, {"url": url})
    return folder


@cache
def remote_of(root: Path) -> "Remote | None":
    """What keeps the home whose working folder is `root`; None where the home is that folder itself.

    Raises:
        StorageError: the package for object stores is missing.
    """
    named = read_json(root / _NAMED)
    return None if named is None else Remote(root, str(named["url"]))


class Remote:
    """The object store of one home, seen from one working folder. Safe for several threads."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.objects = object_store(url)
        self._lease: Lease | None = None
        self._tags: dict[str, str] = {}
        self._looked = -_LOOK_AGAIN_S
        self._saving = False  # not before the database that was shipped last is here
        self._saved: tuple[float, ...] | None = None
        self._identity: str | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Address of the home."""
        return self.objects.url

    def hold(self, worker: str, layout: int) -> None:
        """Take the lease and bring the working folder up to date; see that the store can do what that needs.

        Raises:
            HeldElsewhereError: another worker holds the home.
            StorageError: the store does not answer, ignores conditions, or a later version laid out the home.
        """
        record = json_text({"layout": layout, "identity": secrets.token_hex(_ID_BYTES)}).encode()
        if self.objects.create(_RECORD, record) is not None and self.objects.create(_RECORD, b"{}") is not None:
            self.objects.delete([_RECORD])
            raise StorageError(
                f"{self.url} ignores conditional writes (If-None-Match), without which two workers harm one another; "
                "use a store that has them, or a home in a folder"
            )
        self._lease = Lease.take(self.objects, worker, LEASE_S, self.save_database)
        try:
            self.refresh(layout, settling=True)
            self._saving = True
        except BaseException:
            self.let_go()
            raise

    def let_go(self) -> None:
        """Save what the store does not have yet, and give the lease back."""
        lease, self._lease = self._lease, None
        if lease is not None:
            try:
                self.save_database()
            except StorageError as error:
                _log.warning("MLflow's database stays in %s for now: %s", self.root, error)
            finally:
                self._saving = False
                lease.release()

    @property
    def identity(self) -> str:
        """The random id of this home, the same for all its workers.

        Raises:
            StorageError: the home was never held, so it has none, or the store does not answer.
        """
        if self._identity is None:
            there = self.objects.read(_RECORD)
            if there is None:
                raise StorageError(f"{self.url} is no home yet: a run makes it one")
            self._identity = str(json.loads(there[0])["identity"])
        return self._identity

    def check(self) -> None:
        """See that a lease that was taken is still held.

        Raises:
            StorageError: another worker took over.
        """
        if self._lease is not None:
            self._lease.check()

    def refresh(self, layout: int, *, settling: bool = False) -> None:
        """Bring ledger and index of the working folder up to date, at most every few seconds.

        Args:
            layout: the newest layout of homes that is known.
            settling: at once, and what the store does not know (any more) is forgotten here; for its holder alone.

        Raises:
            StorageError: the store does not answer, or a later version laid out the home.
        """
        with self._lock:
            if not settling and time.monotonic() - self._looked < _LOOK_AGAIN_S:
                return
            self._check_layout(layout)
            known = self._tags or read_json(self.root / _TAGS) or {}
            listed = [entry for top in _LISTED for entry in self.objects.listed(top)]
            changed = [e for e in listed if known.get(e.key) != e.tag or not self._place(e.key).exists()]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._bring, changed))
            if settling:
                self._forget_others({self._place(entry.key) for entry in listed})
            self._tags = {entry.key: entry.tag for entry in listed}
            write_json(self.root / _TAGS, self._tags)
            self._restore_database()
            self._looked = time.monotonic()

    def share(self, path: Path, value: Any) -> None:
        """Write the JSON of `value` for all workers: to the store first, so that it never knows less than this folder.

        Raises:
            StorageError: the store does not answer, or another worker took over.
        """
        self.check()
        key = path.relative_to(self.root).as_posix()
        self._tags[key] = self.objects.write(key, json_text(value).encode())
        write_json(path, value)

    def keep_journal(self, file: Path) -> None:
        """Ship a journal: another worker will ask nothing that is answered in it.

        Raises:
            StorageError: the store does not answer.
        """
        if file.exists():
            self.objects.write(self._key(file), _snapshot(file))

    def bring_journal(self, file: Path) -> None:
        """Fetch a journal that another worker shipped, where this one has none.

        Raises:
            StorageError: the store does not answer.
        """
        there = None if file.exists() else self.objects.read(self._key(file))
        if there is not None:
            _write_bytes(file, there[0])

    def discard_journals(self, folder: Path) -> None:
        """Delete the journals of a stage.

        Raises:
            StorageError: the store does not answer.
        """
        self.objects.delete(entry.key for entry in self.objects.listed(self._key(folder)))

    def save_database(self) -> None:
        """Ship MLflow's database where it has changed since.

        Raises:
            StorageError: the store does not answer.
        """
        file = self.root / _DATABASE
        with self._lock:
            stamp = _stamp(file)
            if self._saving and stamp is not None and stamp != self._saved:
                tag = self.objects.write(_DATABASE, _snapshot(file))
                write_json(self.root / "mlflow" / _TAGS, {_DATABASE: tag})
                self._saved = stamp

    def _restore_database(self) -> None:
        """Take over MLflow's database from the worker that shipped it last, unless that was this one."""
        there = self.objects.about(_DATABASE)
        known = (read_json(self.root / "mlflow" / _TAGS) or {}).get(_DATABASE)
        if there is None or there.tag == known:
            return
        content = self.objects.read(_DATABASE)
        if content is not None:
            file = self.root / _DATABASE
            for side in ("-wal", "-shm", "-journal"):
                file.with_name(file.name + side).unlink(missing_ok=True)
            _write_bytes(file, content[0])
            write_json(self.root / "mlflow" / _TAGS, {_DATABASE: content[1]})

    def _check_layout(self, layout: int) -> None:
        there = self.objects.read(_RECORD)
        found = json.loads(there[0]).get("layout", 0) if there is not None else 0
        if found > layout:
            raise StorageError(
                f"{self.url} was laid out by a later version (layout {found}, this one knows {layout}); "
                "upgrade spar, or give this version its own --home"
            )

    def _bring(self, entry: Stored) -> None:
        there, place = self.objects.read(entry.key), self._place(entry.key)
        if there is None or (place.exists() and place.read_bytes() == there[0]):
            return
        if place.name == MANIFEST:  # what this folder has of another version of the artifact would pass for this one's
            shutil.rmtree(place.parent, ignore_errors=True)
        write_text(place, there[0].decode())

    def _forget_others(self, listed: Iterable[Path]) -> None:
        """An artifact that the index lacks is not complete, whatever this folder says."""
        known = set(listed)
        for manifest in (self.root / "artifacts").glob(f"stage=*/stage_key=*/{MANIFEST}"):
            if manifest not in known:
                manifest.unlink()

    def _place(self, key: str) -> Path:
        """Where the copy of a listed object lies: that of an index entry is the artifact's manifest."""
        if key.startswith(f"{_INDEX}/"):
            return self.root / "artifacts" / key.removeprefix(f"{_INDEX}/").removesuffix(".json") / MANIFEST
        return self.root / key

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def index_key(folder: Path) -> str:
    """The index entry of the artifact that lies, or would lie, in `folder`."""
    return f"{_INDEX}/{folder.parent.name}/{folder.name}.json"


def _snapshot(file: Path) -> bytes:
    """The content of a SQLite database that may be in use, without the log beside it."""
    try:
        with closing(sqlite3.connect(file, timeout=60)) as source, closing(sqlite3.connect(":memory:")) as copy:
            source.backup(copy)
            return copy.serialize()
    except sqlite3.Error as error:
        raise StorageError(f"cannot read {file}: {error}; check the file, then run again") from error


def _stamp(file: Path) -> tuple[float, ...] | None:
    """Changes whenever the database does; None where there is none."""
    sides = [file, file.with_name(file.name + "-wal")]
    stats = [side.stat() for side in sides if side.exists()]
    return tuple(float(value) for status in stats for value in (status.st_mtime_ns, status.st_size)) or None


def _write_bytes(file: Path, content: bytes) -> None:
    beside = file.with_name(f".{file.name}.tmp")
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(file)
