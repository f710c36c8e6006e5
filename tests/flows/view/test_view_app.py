"""The application as a visitor meets it: what it refuses, and that it follows its home."""

import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from flows.cli import invoke
from flows.view import reader
from flows.view.app import make_app
from storage.home import Home
from storage.ledger import Ledger

_HERE = "http://127.0.0.1"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_an_empty_home_says_how_to_begin(home: Home) -> None:
    answer = TestClient(make_app(home), base_url=_HERE).get("/")
    assert answer.status_code == 200
    assert "spar run" in answer.text


def test_nothing_can_be_written(home: Home) -> None:
    client = TestClient(make_app(home), base_url=_HERE)
    assert [client.request(method, "/runs").status_code for method in ("POST", "PUT", "DELETE", "PATCH")] == [405] * 4


def test_every_answer_forbids_scripts_of_others(home: Home) -> None:
    client = TestClient(make_app(home), base_url=_HERE)
    for address in ("/", "/runs/none", "/static/view.css", "/elsewhere"):
        assert "default-src 'none'" in client.get(address).headers["Content-Security-Policy"]


def test_another_name_for_this_machine_is_refused(home: Home) -> None:
    assert TestClient(make_app(home), base_url="http://evil.example").get("/").status_code == 400


def test_what_is_not_there_is_said(home: Home) -> None:
    answer = TestClient(make_app(home), base_url=_HERE).get("/runs/no<b>ne")
    assert answer.status_code == 404
    assert "no&lt;b&gt;ne" in answer.text


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/%2e%2e/cli.py", "/static//etc/passwd"]
)
def test_files_elsewhere_cannot_be_reached(home: Home, path: str) -> None:
    answer = TestClient(make_app(home), base_url=_HERE).get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_a_token_is_asked_for_and_leaves_the_address(home: Home) -> None:
    client = TestClient(make_app(home, token="word"), base_url=_HERE, follow_redirects=False)
    assert client.get("/").status_code == 401
    assert client.get("/?token=other").status_code == 401
    entered = client.get("/runs?token=word&page=2")
    assert (entered.status_code, entered.headers["location"]) == (303, "/runs?page=2")
    assert client.get("/runs").status_code == 200
    assert client.get("/static/view.css").status_code == 200


def test_what_a_run_adds_is_shown(home: Home) -> None:
    client = TestClient(make_app(home), base_url=_HERE)
    assert "later" not in client.get("/runs").text
    Ledger(home).open_run("later", {})
    deadline = time.monotonic() + 20
    while "later" not in client.get("/runs").text:
        assert time.monotonic() < deadline, "the new run never showed"
        time.sleep(0.2)


def test_a_folder_that_goes_while_the_home_is_looked_at_is_no_fault(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = home.artifacts / "stage=collected"
    monkeypatch.setattr(reader, "_folders", lambda _home: [str(gone)])
    assert reader._stamp(home) == ((str(gone), 0),)


def test_a_home_that_is_not_there_is_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["view", "--home", str(home.root)]) == 2
    assert "there is no home" in capsys.readouterr().err
    assert not home.root.exists()
