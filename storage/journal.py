"""The journal of one shard of one stage: finished answers by request key, in one SQLite file.

A `put` has reached the operating system when it returns, so it survives kill -9 (not a power cut: then the file may
lack its last answers, or be damaged and set aside). `storage` does not know what an answer is; it keeps text.
"""

import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spar_core.errors import StorageError
from storage.disk import disk_errors

ASKED_AHEAD = "-ahead"
"""How the name of a stage ends in the journal of what was asked before its own key was known."""
_log = logging.getLogger(__name__)
_SIDE_FILES = ("", "-wal", "-shm")
_LOCK_WAIT_SECONDS = 60.0  # another worker's write takes milliseconds; only a stopped process gets there


class Journal:
    """A durable map from key to text. Safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a damaged one is set aside and a new one begun.

        Raises:
            StorageError: the file can neither be opened nor created.
        """
        self.path = path
        self._lock = threading.Lock()
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _connect(path)
        except sqlite3.OperationalError as error:
            raise _explained(path, error) from error
        except sqlite3.DatabaseError as error:
            _set_aside(path, error)
            with self._errors():
                self._connection = _connect(path)

    def __len__(self) -> int:
        with self._lock, self._errors():
            return int(self._connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def get(self, key: str) -> str | None:
        """The text stored under `key`, None where there is none.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._lock, self._errors():
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str) -> None:
        """Store `answer` under `key`; the first answer of a key stays.

        Raises:
            StorageError: the disk is full, or the file cannot be written.
        """
        with self._lock, self._errors():
            self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, answer))

    def close(self) -> None:
        """Close the file; what it holds stays."""
        with self._lock, self._errors():
            self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error


def discard_journals(folder: Path) -> None:
    """Delete the journals of a stage's shards, and those set aside; the folder above goes if nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # other keys of the stage still have files there
        folder.parent.rmdir()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=16
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        connection.execute("SELECT key, answer FROM answers LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: Path, error: sqlite3.Error) -> None:
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    with disk_errors(path):
        path.rename(aside)
    _delete(path)
    _log.warning("journal %s is damaged (%s); set aside as %s, its answers will be asked again", path, error, aside)


def _delete(path: Path) -> None:
    with disk_errors(path):
        for suffix in _SIDE_FILES:
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def _explained(path: Path, error: sqlite3.Error) -> StorageError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return StorageError(
            f"no space left on the disk while writing {path}; "
            "free some space (or point --home at another disk) and run again: finished work is kept"
        )
    return StorageError(f"cannot use the journal {path}: {error}; check the folder, or delete the file, and run again")
