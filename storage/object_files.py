"""Objects as files for DuckDB, which reads one file in several threads, in each by `seek`, then `read`."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fsspec import AbstractFileSystem

Facts = dict[str, Any]
Range = Callable[[str, int, int], bytes]
"""(key, first byte, number of bytes) to bytes."""

_END_BYTES = 2**20


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Reads the objects below one `s3://bucket/prefix`. They never change, so what is known of one is asked once."""

    protocol = "s3"
    cachable = False

    def __init__(self, url: str, about: Callable[[str], Facts], read: Range) -> None:
        super().__init__()
        self._top = f"{url.removeprefix('s3://')}/"
        self._about = about
        self._read = read
        self._known: dict[str, Facts] = {}
        self._ends: dict[tuple[str, int], bytes] = {}

    def info(self, path: str, **_: Any) -> Facts:
        """`name`, `size`, `type` and `mtime` of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        name = self._strip_protocol(path)
        if name not in self._known:
            self._known[name] = {"name": name, "type": "file", **self._about(self._key(name))}
        return self._known[name]

    def modified(self, path: str) -> datetime:
        """When the object was written."""
        written: datetime = self.info(path)["mtime"]
        return written

    def _open(self, path: str, mode: str = "rb", **_: Any) -> "ObjectFile":
        if mode != "rb":
            raise PermissionError(f"{path} can only be read")
        key, size = self._key(self._strip_protocol(path)), self.info(path)["size"]
        return ObjectFile(lambda start, count: self._range(key, start, count, size), size)

    def _range(self, key: str, start: int, count: int, size: int) -> bytes:
        """A range of an object. Where it is the end of it, a footer, it is kept: DuckDB asks for it again and again."""
        if start + count < size or count > _END_BYTES:
            return self._read(key, start, count)
        if (key, start) not in self._ends:
            self._ends[key, start] = self._read(key, start, count)
        return self._ends[key, start]

    def _key(self, name: str) -> str:
        return name.removeprefix(self._top)


class ObjectFile:
    """An open object; every thread has a position of its own."""

    closed = False

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._position = threading.local()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move this thread's position."""
        self._position.value = offset + (0, self.tell(), self._size)[whence]
        return self.tell()

    def tell(self) -> int:
        """This thread's position."""
        found: int = getattr(self._position, "value", 0)
        return found

    def read(self, count: int = -1) -> bytes:
        """Bytes from this thread's position on."""
        start = self.tell()
        end = self._size if count < 0 else min(start + count, self._size)
        content = self._read(start, end - start) if end > start else b""
        self._position.value = end
        return content

    def close(self) -> None:
        """Nothing is held open."""
