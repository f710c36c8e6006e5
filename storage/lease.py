"""A lease on a home in an object store: one worker at a time writes its ledger, as the lock holds it on a disk.

It is an object that its holder writes anew every few seconds, each time only if it is still the one written last.
Whoever else wants it waits for one such renewal: if none comes within the lease's length, the holder is gone.
"""

import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from spar_core.errors import StorageError
from storage.objects import ObjectStore

_KEY = "lease.json"
_log = logging.getLogger(__name__)


class HeldElsewhereError(StorageError):
    """Another worker holds the lease."""


class Lease:
    """A lease that is held and renewed until `release`. Get one by `take`."""

    def __init__(
        self, objects: ObjectStore, owner: dict[str, Any], tag: str, length_s: float, renewed: Callable[[], None]
    ) -> None:
        self._objects = objects
        self._renewed = renewed
        self._owner = owner
        self._tag = tag
        self._length_s = length_s
        self._lost = False
        self._stopped = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewer.start()

    @classmethod
    def take(
        cls,
        objects: ObjectStore,
        worker: str,
        length_s: float,
        renewed: Callable[[], None] = lambda: None,
    ) -> Self:
        """The lease of a home, when it is free, or was held by this worker, or its holder no longer renews it.

        Args:
            objects: the home's store.
            worker: id of the working folder, which only one process uses at a time.
            length_s: seconds without renewal after which it is free.
            renewed: called after each renewal, by another thread.

        Raises:
            HeldElsewhereError: another worker holds it.
            StorageError: the store does not answer.
        """
        owner = {"worker": worker, "host": socket.gethostname(), "seconds": length_s}
        while True:
            there = objects.read(_KEY)
            content = _content(owner)
            if there is None:
                tag = objects.create(_KEY, content)
            else:
                _await_end(objects, there, worker)
                tag = objects.exchange(_KEY, content, there[1])
            if tag is not None:
                return cls(objects, owner, tag, length_s, renewed)

    def check(self) -> None:
        """See that it is still held.

        Raises:
            StorageError: another worker took it, because the store was not reached for too long.
        """
        if self._lost:
            raise StorageError(
                f"another worker has taken over {self._objects.url}: this one could not renew its lease in time; "
                "it stops here, finished work is kept"
            )

    def release(self) -> None:
        """Let it go."""
        self._stopped.set()
        self._renewer.join()
        if not self._lost:
            try:
                self._objects.exchange(_KEY, _content({"worker": "", "host": "", "seconds": 0.0}), self._tag)
            except StorageError as error:
                _log.warning("the lease on %s ends by itself: %s", self._objects.url, error)

    def _renew(self) -> None:
        while not self._stopped.wait(self._length_s / 3):
            content = _content(self._owner)
            try:
                tag = self._objects.exchange(_KEY, content, self._tag)
                if tag is None:
                    self._lost = True
                    _log.error("another worker has taken over %s", self._objects.url)
                    return
                self._tag = tag
                self._renewed()
            except StorageError as error:  # it is lost when somebody takes it, not before
                _log.warning("the lease on %s was not renewed: %s", self._objects.url, error)


def _content(owner: dict[str, Any]) -> bytes:
    """Never the same twice: each renewal has a tag of its own."""
    return json.dumps({**owner, "renewal": secrets.token_hex(8)}).encode()


def _await_end(objects: ObjectStore, there: tuple[bytes, str], worker: str) -> None:
    """Wait until the holder is known to be gone; at once where it let go, or was this worker before it died."""
    holder = json.loads(there[0])
    if holder["worker"] in ("", worker):
        return
    known = objects.about(_KEY)
    left = 0.0 if known is None else holder["seconds"] - (objects.clock() - known.written).total_seconds()
    if left > 0:
        _log.warning("%s is held by a worker on %s: waiting for a sign of life", objects.url, holder["host"])
    ends = time.monotonic() + left + 1.0  # objects' times are whole seconds
    while time.monotonic() < ends:
        now = objects.read(_KEY)
        if now is None or now[1] != there[1]:
            break
        time.sleep(min(1.0, holder["seconds"] / 10))
    else:
        return
    now = objects.read(_KEY)
    if now is not None and json.loads(now[0])["worker"] not in ("", worker):
        raise HeldElsewhereError(
            f"{objects.url} is in use by a worker on {json.loads(now[0])['host']}; wait for it or stop it, or give "
            "this run its own --home"
        )
