"""A real OpenAI-compatible HTTP server whose weights a test can change: `answer` is what it says to a prompt."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.quiet_server import QuietServer


class ChatServer:
    """`models` is its list (None: it keeps it to itself, 404); `token` the key it demands (None: none); `chats` the
    bodies of the requests it answered. `says` is put into every refusal."""

    def __init__(self, answer: Callable[[str], str], token: str | None = None) -> None:
        self.answer = answer
        self.token = token
        self.says = ""
        self.models: list[dict[str, Any]] | None = [{"id": "m", "root": "/weights", "created": 1}]
        self.chats: list[dict[str, Any]] = []
        self.authorizations: set[str | None] = set()
        self._http = QuietServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [chat["messages"][-1]["content"] for chat in self.chats]

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805  the handler below has the name self
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({"data": server.models} if self.path == "/v1/models" and server.models else None)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = server.answer(body["messages"][-1]["content"])
                choices = [
                    {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                    for index in range(body.get("n", 1))
                ]
                if self._reply({"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}):
                    server.chats.append(body)

            def _reply(self, content: Any) -> bool:
                given = self.headers.get("Authorization")
                server.authorizations.add(given)
                status = 200 if content is not None else 404
                if server.token is not None and given != f"Bearer {server.token}":
                    status, content = 401, {"error": {"message": f"wrong key: {given} {server.says}"}}
                raw = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
                return status == 200

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler


@contextmanager
def chat_server(answer: Callable[[str], str] = "about {}".format, token: str | None = None) -> Iterator[ChatServer]:
    server = ChatServer(answer, token)
    try:
        yield server
    finally:
        server.stop()
