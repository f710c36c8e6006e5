"""A real S3 server (moto) as a process, and a proxy before it that fails, delays and cuts."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import httpx

from spar_core.ports import free_port

Fault = Literal["error", "slow", "cut", "lost"]
_PAUSE_S = 0.05


@contextmanager
def object_server() -> Iterator[str]:
    """The address of a running S3 server."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _answers(address):
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/moto-api/", timeout=30).is_success
    except httpx.TransportError:
        return False


def make_bucket(address: str, name: str) -> None:
    """Create a bucket."""
    httpx.put(f"{address}/{name}", timeout=60).raise_for_status()


def variables(address: str) -> dict[str, str]:
    """The environment that leads clients to a server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }


class FaultyProxy:
    """Hands requests on to a server; `faults` are met by the next requests of their methods, one each.

    `error`: 500 without asking the server. `slow`: handed on late. `cut`: the answer ends in the middle. `lost`: the
    server does it, the connection ends without an answer. `drops_conditions`: as an old server, which knows none.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.faults: list[tuple[str, Fault]] = []
        self.every: dict[str, list[Fault]] = {}
        self.drops_conditions = False
        self.met: list[tuple[str, Fault]] = []
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy._serve(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815 - as the library names them

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._client = httpx.Client(timeout=120)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    def _fault(self, method: str) -> Fault | None:
        """The next fault for a method: one asked for, else every third request meets the next of `every`."""
        with self._lock:
            found = next((fault for fault in self.faults if fault[0] == method), None)
            if found is not None:
                self.faults.remove(found)
            elif method in self.every:
                number = self._seen[method] = self._seen.get(method, 0) + 1
                kinds = self.every[method]
                found = (method, kinds[number // 3 % len(kinds)]) if number % 3 == 0 else None
            if found is not None:
                self.met.append(found)
            return None if found is None else found[1]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self._fault(handler.command)
        if fault == "error":
            handler.send_response(500)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if fault == "slow":
            time.sleep(_PAUSE_S)
        dropped = {"host", "content-length"} | ({"if-none-match", "if-match"} if self.drops_conditions else set())
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in dropped}
        answer = self._client.request(handler.command, self._target + handler.path, content=body, headers=headers)
        if fault == "lost":
            handler.close_connection = True
            return
        content = answer.content
        handler.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "content-encoding", "date"):
                handler.send_header(name, value)
        length = answer.headers.get("Content-Length", "0") if handler.command == "HEAD" else str(len(content))
        handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
            handler.close_connection = fault == "cut"
