"""A hub of one data set on this machine, as far as `huggingface_hub` asks for one."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(name: str, files: Mapping[str, bytes], asked: list[str]) -> Iterator[str]:
    """Address of a hub that holds the data set `name`; `asked` takes the path of every request."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            body, etag = self._found(path)
            self.send_response(404 if body is None else 200)
            if body is None:
                self.send_header("X-Error-Code", "RepoNotFound")
            else:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if with_body and body:
                self.wfile.write(body)

        def _found(self, path: str) -> tuple[bytes | None, str]:
            api, resolve = f"/api/datasets/{name}", f"/datasets/{name}/resolve/{COMMIT}/"
            if path in (f"{api}/revision/main", api):
                return json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode(), "info"
            if path.startswith(f"{api}/tree/{COMMIT}"):
                return json.dumps([self._entry(file, content) for file, content in files.items()]).encode(), "tree"
            content = files.get(path.removeprefix(resolve)) if path.startswith(resolve) else None
            return content, _blob(content or b"")

        def _entry(self, file: str, content: bytes) -> dict[str, object]:
            return {"type": "file", "path": file, "size": len(content), "oid": _blob(content)}

        def log_message(self, *_arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _blob(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def environment(address: str, cache: Path) -> dict[str, str]:
    """Variables under which a child process asks this hub alone."""
    return {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "no_proxy": "127.0.0.1"}
