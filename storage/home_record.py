"""`home.json`: which home a folder is, and in which layout it keeps things.

A home is recognised by a random id, never by its path, which may be the same on two machines. The id belongs to one
folder: a folder that was renamed keeps it; a copy is given an id of its own at its first use, so that what runs
elsewhere under the original's name (servers, flow runs, processes) is never taken for the copy's.
"""

import logging
import secrets
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from spar_core.errors import StorageError
from storage.disk import disk_errors, read_json, write_json
from storage.layouts import migrate

LAYOUT = 1
"""Number of the layout of a home; raise it when files move, with a migration from the one before."""

_ID_BYTES = 8
_log = logging.getLogger(__name__)


class Folder(BaseModel):
    """Where a home's record was written: what tells a renamed folder from a copied one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    host: str
    device: int
    inode: int

    @classmethod
    def of(cls, root: Path) -> "Folder":
        """The folder as it stands now."""
        with disk_errors(root):
            status = root.stat()
        return cls(path=str(root), host=socket.gethostname(), device=status.st_dev, inode=status.st_ino)

    def is_same(self, other: "Folder") -> bool:
        """Whether both are one folder: numbers of devices change at a restart, those of inodes do not.

        A folder that took the other's place on the same machine (restored from a backup) counts as the same.
        """
        if self.inode == other.inode and (self.device == other.device or self.path == other.path):
            return True
        return (self.path, self.host) == (other.path, other.host)


class HomeRecord(BaseModel):
    """What `home.json` says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: str
    layout: int
    folder: Folder


def read_record(file: Path) -> HomeRecord | None:
    """The record of a home, None where there is no readable one: an older home has none.

    Raises:
        StorageError: a later version laid out the home.
    """
    fields = read_json(file)
    if fields is None:
        return None
    _check_layout(file, fields.get("layout"))
    try:
        return HomeRecord.model_validate(fields)
    except ValidationError:
        return None


def settle_record(file: Path) -> HomeRecord:
    """The record of the home, made or brought up to date: a new or copied home gets a new id, a renamed one keeps its.

    Raises:
        StorageError: a later version laid out the home, or the record cannot be written.
    """
    known, folder = read_record(file), Folder.of(file.parent)
    if known is not None and known.folder == folder and known.layout == LAYOUT:
        return known
    identity = secrets.token_hex(_ID_BYTES)
    if known is None:
        migrate(file.parent)
    elif known.folder.is_same(folder):
        identity = known.identity
        if known.folder.path != folder.path:
            _log.info("the home %s was moved to %s", known.folder.path, folder.path)
    else:
        _log.warning(
            "%s is a copy of the home %s: it has an id of its own from now on, the original is left alone",
            folder.path,
            known.folder.path,
        )
        _forget_processes(file.parent)
    record = HomeRecord(identity=identity, layout=LAYOUT, folder=folder)
    write_json(file, record.model_dump(mode="json"))
    return record


def _forget_processes(root: Path) -> None:
    """The servers that a copy has records of are the original's: they are neither used nor ended from here."""
    with disk_errors(root):
        for record in (root / "prefect" / "server.json", *root.glob("work/servers/*.json")):
            record.unlink(missing_ok=True)


def _check_layout(file: Path, layout: object) -> None:
    if isinstance(layout, int) and layout > LAYOUT:
        raise StorageError(
            f"{file.parent} was laid out by a later version (layout {layout}, this one knows {LAYOUT}); "
            "upgrade spar, or give this version its own --home"
        )
