"""Reading a home for pages: the catalogue, opened again when the home has changed."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from typing import Any, NamedTuple

from spar_core.errors import StorageError
from storage.catalog import Catalog, open_catalog
from storage.home import Home

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 1.0  # how often it is asked whether the home has changed
_PATIENCE_S = 0.25  # how long a page waits for the newer state before it shows the one it has

Rows = list[dict[str, Any]]


class Page(NamedTuple):
    """Rows `(number - 1) * size` to `number * size` of `total`."""

    rows: Rows
    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """Number of the last page, from 1."""
        return max(1, -(-self.total // self.size))


class Reader:
    """The catalogue of one home for several threads. A change of the home shows after about a second."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._lock = threading.Lock()
        self._catalog = open_catalog(home)
        self._stamp = _stamp(home)
        self._looked = time.monotonic()
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        self._opening: Future[None] | None = None

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> Rows:
        """The rows of a query; `parameters` fill its question marks.

        Raises:
            StorageError: the query is wrong, or the home cannot be read.
        """
        self._refresh()
        with self._lock:
            return self._catalog.rows(sql, list(parameters))

    def one(self, sql: str, parameters: Sequence[object] = ()) -> dict[str, Any] | None:
        """The first row, or None.

        Raises:
            StorageError: as for `rows`.
        """
        return next(iter(self.rows(f"{sql} LIMIT 1", parameters)), None)

    def page(self, sql: str, parameters: Sequence[object] = (), number: int = 1, size: int = 50) -> Page:
        """One page of a query that has an order.

        Raises:
            StorageError: as for `rows`.
        """
        total = self.rows(f"SELECT count(*) AS n FROM ({sql})", parameters)[0]["n"]
        number = min(max(1, number), max(1, -(-total // size)))
        rows = self.rows(f"{sql} LIMIT {size} OFFSET {(number - 1) * size}", parameters)
        return Page(rows, number, size, total)

    def close(self) -> None:
        """Release the catalogue; idempotent."""
        self._opener.shutdown(wait=True)
        with self._lock:
            self._catalog.close()

    def _refresh(self) -> None:
        opening = self._opening
        if opening is None:
            if time.monotonic() - self._looked < _LOOK_AGAIN_S:
                return
            self._looked = time.monotonic()
            self._bring()
            if _stamp(self.home) == self._stamp:
                return
            opening = self._opening = self._opener.submit(self._open)
        try:
            opening.result(timeout=_PATIENCE_S)
        except TimeoutError:
            return
        finally:
            if opening.done():
                self._opening = None

    def _bring(self) -> None:
        """Of a home in an object store; one that does not answer for now is shown as it was."""
        try:
            self.home.check_layout()
        except StorageError as error:
            _log.warning("%s", error)

    def _open(self) -> None:
        stamp = _stamp(self.home)  # before it is read: what changes meanwhile is read again
        fresh = open_catalog(self.home)
        with self._lock:
            old: Catalog = self._catalog
            self._catalog, self._stamp = fresh, stamp
            old.close()


def _stamp(home: Home) -> tuple[tuple[str, int], ...]:
    """Changes whenever an entry of the ledger or an artifact appears, is replaced or goes."""
    return tuple(sorted((folder, _changed(folder)) for folder in _folders(home)))


def _changed(folder: str) -> int:
    """When a folder changed last; 0 where it went meanwhile, as `spar gc` takes them."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def _folders(home: Home) -> Iterator[str]:
    """Every entry is put in place by a rename, which changes its folder's time."""
    for top, depth in ((home.runs, 3), (home.artifacts, 1)):
        for folder, below, _ in os.walk(top):
            yield folder
            if len(os.path.relpath(folder, top).split(os.sep)) >= depth and folder != str(top):
                below.clear()
