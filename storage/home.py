"""The layout of one home: the folder that holds everything `spar` keeps."""

import fcntl
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spar_core.errors import StorageError
from storage.disk import disk_errors, write_json
from storage.home_record import LAYOUT, HomeRecord, read_record, settle_record
from storage.lease import HeldElsewhereError
from storage.objects import as_url
from storage.remote import Remote, remote_of, working_folder

_log = logging.getLogger(__name__)

DEFAULT_HOME = ".spar"
HOME_VARIABLE = "SPAR_HOME"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWNER_ALONE = 0o700
_held_descriptors: set[int] = set()


class HomeInUseError(StorageError):
    """Another process holds the home; `pid` is its number where it is known."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


def _close_inherited_locks() -> None:
    """Keep a forked child, which may outlive a killed parent, from holding the parent's lock."""
    for descriptor in _held_descriptors:
        os.close(descriptor)
    _held_descriptors.clear()


os.register_at_fork(after_in_child=_close_inherited_locks)


def safe_name(name: str, what: str) -> str:
    """`name`, checked to be usable as one path component.

    Raises:
        StorageError: it holds anything but letters, digits, `.`, `_` and `-`.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise StorageError(
            f"{what} {name!r} must be letters, digits, '.', '_' or '-', and start with a letter or digit"
        )
    return name


class Home:
    """Absolute paths under one folder, and the object store behind it if there is one.

    Folders are made by whoever first writes into them.
    """

    def __init__(self, path: Path | str) -> None:
        """`path` is a folder, or the address `s3://bucket/prefix`: then `root` is the working folder this machine has
        of it (`storage.remote`), and a home at that folder is the same one.

        Raises:
            StorageError: the working folder cannot be made.
        """
        url = as_url(path)
        self.root = Path(path).expanduser().absolute() if url is None else working_folder(url)

    def __repr__(self) -> str:
        return f"Home({self.address!r})"

    @property
    def remote(self) -> Remote | None:
        """The object store that keeps the home; None where the folder is the home.

        Raises:
            StorageError: the package for object stores is missing.
        """
        return remote_of(self.root)

    @property
    def address(self) -> str:
        """What `--home` is given: the folder, or the address of the object store."""
        remote = self.remote
        return str(self.root) if remote is None else remote.url

    @classmethod
    def default(cls) -> "Home":
        """The home in the environment variable SPAR_HOME, else `.spar` in the working directory."""
        return cls(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)

    @property
    def artifacts(self) -> Path:
        """Content-addressed stage outputs."""
        return self.root / "artifacts"

    def meeting(self, run_id: str) -> Path:
        """Where the machines of one run meet for its trainings."""
        return self.root / "meetings" / run_id

    @property
    def journal(self) -> Path:
        """Completions of stages that are not committed yet."""
        return self.root / "journal"

    @property
    def work(self) -> Path:
        """Scratch of unfinished stages, such as training checkpoints."""
        return self.root / "work"

    @property
    def servers(self) -> Path:
        """Records of running model servers, by which those whose owner died are found."""
        return self.work / "servers"

    @property
    def runs(self) -> Path:
        """The ledger of runs, stages and registered models."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """Model folders that no stage produced, such as unpacked base models."""
        return self.root / "models"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifact root."""
        return self.root / "mlflow"

    @property
    def prefect(self) -> Path:
        """Prefect's home: its database, results and settings."""
        return self.root / "prefect"

    @property
    def logs(self) -> Path:
        """Log files of training subprocesses and servers."""
        return self.root / "logs"

    @property
    def trash(self) -> Path:
        """What `spar gc` has taken out of its place and not deleted yet."""
        return self.root / "trash"

    @property
    def pins_file(self) -> Path:
        """Which runs and models `spar gc` keeps whatever their age."""
        return self.runs / "pins.json"

    @property
    def identity(self) -> str:
        """The random id of this home: stays when the folder is renamed, differs in every copy. All workers on an object
        store know it by the same.

        Raises:
            StorageError: the home was never held, so it has none, or a later version laid it out.
        """
        if self.remote is not None:
            return self.remote.identity
        record = read_record(self._record_file)
        if record is None:
            raise StorageError(f"{self.root} is no home yet: a run makes it one")
        return record.identity

    def check_layout(self) -> None:
        """See that this version knows how the home is laid out: for those who only read it.

        The ledger and the index of a home in an object store are brought up to date, unless a process of this machine
        holds it: then they are.

        Raises:
            StorageError: a later version laid it out, or the object store does not answer.
        """
        read_record(self._record_file)
        if self.remote is not None and self.lock_holder() is None:
            self.remote.refresh(LAYOUT)

    def share_json(self, path: Path, value: Any) -> None:
        """Replace a file of the home by the JSON of `value`, for every worker of it.

        Raises:
            StorageError: it could not be written.
        """
        if self.remote is None:
            write_json(path, value)
        else:
            self.remote.share(path, value)

    def settle(self) -> HomeRecord:
        """Make this folder a home if it is none, and see whether it was moved or copied; `lock` does it too.

        Raises:
            StorageError: a later version laid out the home, or the folder cannot be written.
        """
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        return settle_record(self._record_file)

    def stored(self, path: Path) -> str:
        """`path` as it is written down: relative to the home where it lies inside, so that the home can move."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def located(self, stored: str) -> Path:
        """The path that `stored` wrote down, in the home as it lies now."""
        return self.root / stored  # an absolute path stays what it is

    def journal_file(self, stage: str, key: str, shard: int) -> Path:
        """Where the journal of one shard of one stage lies."""
        return self.journal / safe_name(stage, "stage") / safe_name(key, "stage key") / f"shard-{shard:05d}.sqlite"

    def private(self) -> None:
        """See that the folder is there and that its owner alone can enter it: it holds users' texts.

        Raises:
            StorageError: it cannot be made.
        """
        with disk_errors(self.root):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.root.mkdir(mode=_OWNER_ALONE)
            mode = stat.S_IMODE(self.root.stat().st_mode)
        if mode & ~_OWNER_ALONE:
            try:
                self.root.chmod(mode & _OWNER_ALONE)
            except OSError:  # somebody else's folder, such as a mounted volume
                _log.warning("%s is open to others (mode %o), and only its owner can change that", self.root, mode)
                return
            _log.warning("%s was open to others (mode %o): its owner alone can enter it now", self.root, mode)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the home for writing; the system frees it when the process ends, however it ends.

        Readers need no lock. A home in an object store is held by a lease, which ends a while after its holder's last
        sign of life.

        Raises:
            HomeInUseError: another process holds it (named by its pid), or another worker.
            StorageError: the folder cannot be written, or a later version laid it out.
        """
        with disk_errors(self._lock_file):
            self.private()
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        owner = os.getpid()
        try:
            with disk_errors(self._lock_file):
                free = _try_lock(descriptor, fcntl.LOCK_EX)
            if not free:
                pid = _read_pid(descriptor)
                raise HomeInUseError(
                    f"{self.root} is in use by another run (process {pid or 'unknown'}); "
                    "wait for it or stop it, or give this run its own --home",
                    pid,
                )
            _held_descriptors.add(descriptor)
            with disk_errors(self._lock_file):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{owner}\n".encode(), 0)
            self._hold_remote(self.settle().identity)
            yield
        finally:
            if os.getpid() == owner:  # a child forked inside the block has closed its copy already
                if self.remote is not None:
                    self.remote.let_go()
                _held_descriptors.discard(descriptor)
                os.close(descriptor)

    def lock_holder(self) -> int | None:
        """Pid of the process that holds the lock, None where the home is free."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY)
        except OSError:
            return None
        try:
            with disk_errors(self._lock_file):
                return None if _try_lock(descriptor, fcntl.LOCK_SH) else _read_pid(descriptor)
        finally:
            os.close(descriptor)

    def _hold_remote(self, worker: str) -> None:
        if self.remote is not None:
            try:
                self.remote.hold(worker, LAYOUT)
            except HeldElsewhereError as error:
                raise HomeInUseError(str(error), None) from error

    @property
    def _record_file(self) -> Path:
        return self.root / "home.json"

    @property
    def _lock_file(self) -> Path:
        return self.root / "lock"


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
