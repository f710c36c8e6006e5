"""What is wrong with a shared MLflow is said before a run starts."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flows.checks import machine
from spar_core.ports import free_port
from storage.mlflow_store import TRACKING_VARIABLE
from tests.postgres_server import PASSWORD


def found(monkeypatch, uri):
    monkeypatch.setenv(TRACKING_VARIABLE, uri)
    return list(machine._mlflow())


class _Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_answers_is_well(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (finding,) = found(monkeypatch, f"http://127.0.0.1:{server.server_port}/")
        (elsewhere,) = found(monkeypatch, f"http://127.0.0.1:{server.server_port}/mlflow")
        server.shutdown()
    assert finding.verdict == "ok"
    assert (elsewhere.verdict, elsewhere.remedy != "") == ("fail", True)
    assert "HTTP 404" in elsewhere.detail


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:{port}", "nothing answers there"),
        ("postgresql://spar:{password}@127.0.0.1:{port}/mlflow", "start it, or correct the URL"),
        ("mlruns", "correct the URL"),
        ("sqlite:///{folder}/empty.db", "run `spar db upgrade` once"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(monkeypatch, tmp_path, uri, said):
    (finding,) = found(monkeypatch, uri.format(port=free_port(), password=PASSWORD, folder=tmp_path))
    assert finding.verdict == "fail"
    assert said in finding.told
    assert PASSWORD not in finding.told


def test_a_home_of_its_own_is_not_checked(monkeypatch):
    monkeypatch.delenv(TRACKING_VARIABLE, raising=False)
    assert list(machine._mlflow()) == []
