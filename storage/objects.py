"""An object store as a home: S3 and what speaks its protocol, with conditional writes.

What an answer's loss leaves open (was it written?) is settled by reading back, so every call may be repeated by the
retries below it. Credentials, region and endpoint are those of the AWS environment variables.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from spar_core.errors import StorageError
from spar_core.hashing import file_digest
from storage.disk import disk_errors

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"s3:/{1,2}(?P<bucket>[^/]+)(?:/(?P<prefix>.*))?")
_TRIES = 4  # of a call as a whole, each with the client's own retries
_FIRST_PAUSE_S = 0.2
_CHUNK_BYTES = 8 * 2**20
_RETRIES: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=90)}
_Result = TypeVar("_Result")


class Stored(NamedTuple):
    """An object: its key below the home's prefix, bytes, tag (changes with its content) and time of writing."""

    key: str
    bytes: int
    tag: str
    written: datetime


def as_url(place: Path | str) -> str | None:
    """`place` as `s3://bucket/prefix` where it names an object store; None where it is a folder.

    A `Path` of such an address has lost one of its slashes.
    """
    found = _URL.fullmatch(str(place).rstrip("/"))
    return None if found is None else f"s3://{found['bucket']}/{found['prefix'] or ''}".rstrip("/")


@cache
def object_store(url: str) -> "ObjectStore":
    """The store at `s3://bucket/prefix`, one per process.

    Raises:
        StorageError: the package is missing.
    """
    return ObjectStore(url)


class ObjectStore:
    """Objects below one prefix. Safe for several threads."""

    def __init__(self, url: str) -> None:
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise StorageError(f"{url}: object stores need the package obstore: pip install 'spar[s3]'") from error
        named = _URL.fullmatch(url)
        if named is None:
            raise StorageError(f"{url!r} is no address of an object store; give s3://bucket/prefix")
        self.url = url
        options: Any = {"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"), "timeout": "60s"}
        self._store = S3Store(
            named["bucket"], prefix=named["prefix"] or None, client_options=options, retry_config=_RETRIES
        )

    def address(self, key: str) -> str:
        """The object as `s3://bucket/prefix/key`."""
        return f"{self.url}/{key}"

    def create(self, key: str, content: bytes) -> str | None:
        """Write an object that is not there yet; its tag, or None, and nothing written, where another is there.

        Raises:
            StorageError: the store does not answer, or takes no conditional writes.
        """
        return self._conditional(key, content, "create")

    def exchange(self, key: str, content: bytes, tag: str) -> str | None:
        """Replace an object if it is still the one of this tag; its new tag, or None where it is another by now.

        Raises:
            StorageError: as for `create`.
        """
        return self._conditional(key, content, {"e_tag": tag})

    def write(self, key: str, content: bytes | Path) -> str:
        """Write an object, in place of what is there, and return its tag; a large one is there when all has arrived.

        Raises:
            StorageError: the store does not answer, or the file cannot be read.
        """
        import obstore

        return self._tried(key, lambda: obstore.put(self._store, key, content)["e_tag"] or "")

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's content and tag; None where it is not there.

        Raises:
            StorageError: the store does not answer.
        """
        import obstore

        def got() -> tuple[bytes, str]:
            answer = obstore.get(self._store, key)
            return bytes(answer.bytes()), answer.meta["e_tag"] or ""

        return self._tried(key, lambda: _unless_absent(got))

    def fetch(self, key: str, file: Path, sha256: str) -> bool:
        """Copy an object into a new file, compared with its checksum; False where the object is not there.

        Raises:
            StorageError: the store does not answer, what it sent is damaged, or the disk is full.
        """
        import obstore

        def copied() -> bool:
            answer = obstore.get(self._store, key)
            with disk_errors(file), file.open("wb") as target:
                for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                    target.write(chunk)
            if file_digest(file) != sha256:
                raise OSError("what arrived does not match its checksum")
            return True

        return self._tried(key, lambda: _unless_absent(copied)) is not None

    def about(self, key: str) -> Stored | None:
        """What is known of an object; None where it is not there.

        Raises:
            StorageError: the store does not answer.
        """
        import obstore

        return self._tried(key, lambda: _unless_absent(lambda: _stored(obstore.head(self._store, key))))

    def listed(self, folder: str) -> list[Stored]:
        """Every object below a folder.

        Raises:
            StorageError: the store does not answer.
        """
        import obstore

        return self._tried(
            folder, lambda: [_stored(meta) for batch in obstore.list(self._store, prefix=folder) for meta in batch]
        )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error.

        Raises:
            StorageError: the store does not answer.
        """
        import obstore

        gone = list(keys)
        if gone:
            self._tried(gone[0], lambda: _unless_absent(lambda: obstore.delete(self._store, gone)))

    def clock(self) -> datetime:
        """The store's own time: ages of objects are told by it, whatever the clocks of the machines say.

        Raises:
            StorageError: the store does not answer.
        """
        key = f"clock/{secrets.token_hex(8)}"
        self.write(key, b"")
        now = self.about(key)
        self.delete([key])
        if now is None:
            raise StorageError(f"{self.url} forgets what is written; a home needs a store that keeps objects")
        return now.written

    def files(self) -> "AbstractFileSystem":
        """The objects as a file system of fsspec's, to be read by their addresses."""
        import obstore

        from storage.object_files import ObjectFiles

        def facts(key: str) -> dict[str, Any]:
            there = self.about(key)
            if there is None:
                raise FileNotFoundError(self.address(key))
            return {"size": there.bytes, "mtime": there.written}

        def read(key: str, start: int, count: int) -> bytes:
            return self._tried(key, lambda: bytes(obstore.get_range(self._store, key, start=start, length=count)))

        return ObjectFiles(self.url, facts, read)

    def _conditional(self, key: str, content: bytes, mode: Any) -> str | None:
        """A lost answer makes the client's retry meet its own object: equal content means that it is written."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        def written() -> str | None:
            try:
                return obstore.put(self._store, key, content, mode=mode, use_multipart=False)["e_tag"]
            except (AlreadyExistsError, PreconditionError):
                there = self.read(key)
                return there[1] if there is not None and there[0] == content else None

        return self._tried(key, lambda: _unless_absent(written))

    def _tried(self, key: str, call: Callable[[], _Result]) -> _Result:
        """A call, made again where the store fails it after the client's own retries, or cut an answer short."""
        for number in range(_TRIES):
            try:
                with self._refusals(key):
                    return call()
            except OSError as error:
                if number == _TRIES - 1:
                    raise StorageError(
                        f"the object store {self.url} failed at {key}: {_short(error)}; check that it answers, then "
                        "run again: finished work is kept"
                    ) from error
                time.sleep(_FIRST_PAUSE_S * 2**number)
        raise AssertionError("unreachable")

    @contextmanager
    def _refusals(self, key: str) -> Iterator[None]:
        """What another try does not mend."""
        from obstore.exceptions import BaseError, NotSupportedError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise StorageError(
                f"the object store {self.url} refuses access to {key}: {_short(error)}; check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY, AWS_REGION and, where it is not Amazon's, AWS_ENDPOINT_URL"
            ) from error
        except NotSupportedError as error:
            raise StorageError(f"the object store {self.url} cannot do what a home needs: {_short(error)}") from error
        except FileNotFoundError as error:
            raise StorageError(f"{self.url}: there is no such bucket: {_short(error)}; create it first") from error
        except BaseError as error:
            raise OSError(str(error)) from error


def _unless_absent(call: Callable[[], _Result]) -> _Result | None:
    try:
        return call()
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise
        return None


def _stored(meta: Any) -> Stored:
    return Stored(meta["path"], meta["size"], meta["e_tag"] or "", meta["last_modified"])


def _short(error: BaseException) -> str:
    """The first line of what the client says, which repeats itself."""
    return str(error).partition("\n")[0][:300]
