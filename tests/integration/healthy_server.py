"""A server that answers every request with 200, on the port after `--port`."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


if __name__ == "__main__":
    port = sys.argv[sys.argv.index("--port") + 1]
    ThreadingHTTPServer(("127.0.0.1", int(port)), _Healthy).serve_forever()
