"""A real OpenAI-compatible HTTP server that answers, or misbehaves, as a test tells it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.quiet_server import QuietServer


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


Behaviour = Callable[[dict[str, Any], int], Reply]


def choice(text: Any, index: int = 0, finish_reason: Any = "stop") -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}


def answer(*choices: dict[str, Any], prompt_tokens: int = 7, completion_tokens: int = 0) -> Reply:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return Reply(body={"choices": list(choices), "usage": usage})


def proper(body: dict[str, Any], call: int = 0) -> Reply:
    """What vLLM does: choice i is drawn with seed + i."""
    last = body["messages"][-1]["content"]
    return answer(*(choice(f"{last}/{body['seed'] + index}", index) for index in range(body["n"])))


class Server:
    """`requests` holds the bodies received, `peak` the most handled at once."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.models: Any = {"data": [{"id": "m", "root": "/weights", "created": 1, "max_model_len": 64}]}
        self.peak = self._now = 0
        self._lock = threading.Lock()
        self._http = QuietServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        with self._lock:
            call = len(self.requests)
            self.requests.append(body)
            self.headers.append(headers)
            self._now += 1
            self.peak = max(self.peak, self._now)
        try:
            return self.behaviour(body, call)
        finally:
            with self._lock:
                self._now -= 1

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805  the handler below has the name self
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._send(Reply(body=server.models) if self.path == "/v1/models" else Reply(404))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(
                    server.reply(body, dict(self.headers)) if self.path == "/v1/chat/completions" else Reply(404)
                )

            def _send(self, reply: Reply) -> None:
                content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def serving(behaviour: Behaviour = proper) -> Iterator[Server]:
    server = Server(behaviour)
    try:
        yield server
    finally:
        server.stop()
