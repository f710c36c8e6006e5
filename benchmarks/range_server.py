"""A cache before an S3 server that answers ranges as large stores do: without reading the whole object, after a pause.

moto reads an object whole for every range of it, so that its times are none of a store's.
"""

import os
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from spar_core.hashing import digest

_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"}  # not looked into


class RangeServer:
    """Hands requests on to `target`; ranges are read from a copy of the object, made when its first is asked for."""

    def __init__(self, target: str, folder: Path, pause_s: float) -> None:
        self.requests, self.sent_bytes = 0, 0
        self._lock = threading.Lock()
        self._copies: dict[str, threading.Lock] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(pause_s)
                if "Range" in self.headers:
                    self.answer_range(server.copy(self.path))
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length")}
                answer = server.client.request(self.command, target + self.path, content=content, headers=headers)
                length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else len(answer.content)
                self.answer(answer.status_code, answer.headers, str(length), answer.content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815 - as the library names them

            def answer_range(self, copy: tuple[Path, httpx.Headers]) -> None:
                file, headers = copy
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                size = file.stat().st_size
                end = min(int(last) + 1, size) if last else size
                with file.open("rb") as opened:
                    content = os.pread(opened.fileno(), end - int(first), int(first))
                known = httpx.Headers({**headers, "Content-Range": f"bytes {first}-{end - 1}/{size}"})
                self.answer(206, known, str(len(content)), content)

            def answer(self, status: int, headers: httpx.Headers, length: str, content: bytes) -> None:
                server.count(len(content))
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "content-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    with suppress(BrokenPipeError):
                        self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self.client = httpx.Client(timeout=600, trust_env=False)
        self._target, self._folder, self._headers = target, folder, dict[str, httpx.Headers]()
        folder.mkdir(parents=True, exist_ok=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self.client.close()

    def count(self, sent: int) -> None:
        """One more request, of so many bytes."""
        with self._lock:
            self.requests += 1
            self.sent_bytes += sent

    def copy(self, path: str) -> tuple[Path, httpx.Headers]:
        """The object's copy, and the headers it came with."""
        file = self._folder / digest([path])
        with self._lock:
            lock = self._copies.setdefault(path, threading.Lock())
        with lock:
            if path not in self._headers:
                with (
                    self.client.stream("GET", self._target + path, headers=_SIGNED) as answer,
                    file.open("wb") as target,
                ):
                    answer.raise_for_status()
                    for chunk in answer.iter_bytes():
                        target.write(chunk)
                self._headers[path] = answer.headers
        return file, self._headers[path]
