"""Writing to disk so that a reader sees either the old content or the new, and a full disk is a clear error."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spar_core.errors import StorageError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names the path and the remedy.

    Raises:
        StorageError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            message = (
                f"no space left on the disk while writing {path}; "
                "free some space (or point --home at another disk) and run again: finished work is kept"
            )
        else:
            message = (
                f"cannot access {path}: {error.strerror or error}; check the path and its permissions, then run again"
            )
        raise StorageError(message) from error


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by the JSON of `value`, as `write_text` does.

    Raises:
        StorageError: the file could not be written.
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """JSON as it is written down: the same value is the same text."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a text in one step; the bytes are on disk before the name is. Lone surrogates become `?`.

    Raises:
        StorageError: the file could not be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", errors="replace") as handle:
                handle.write(text)
                sync(handle.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None where there is no readable one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync(descriptor: int) -> None:
    """Force a file's bytes to the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
