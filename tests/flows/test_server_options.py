"""What the searching commands say of servers reaches the engines: `--timeout`, `--retries`, `--max-wait`, `--fresh`."""

import contextlib

import pytest

from flows.cli import invoke
from flows.wiring.models import ServerOptions
from spar_core.errors import SparError

SERVER = "http://127.0.0.1:9/v1#m"


@pytest.fixture
def asked(monkeypatch):
    """The requests that flows were given; every flow ends at once."""
    requests = []

    def end(request, *_):
        requests.append(request)
        raise SparError("asked")

    monkeypatch.setattr("flows.checks.preflight.preflight", lambda _work: None)
    monkeypatch.setattr("flows.refinement.refine_prompt", end)
    monkeypatch.setattr("flows.search.search", end)
    monkeypatch.setattr("flows.wiring.session.session", lambda *_, **__: contextlib.nullcontext())
    return requests


def test_refine(asked, tmp_path):
    limits = ("--timeout", "5", "--retries", "0", "--max-wait", "7")
    invoke(["refine", "Hi", "--refiner", SERVER, "--home", str(tmp_path), *limits])
    invoke(["refine", "Hi", "--refiner", SERVER, "--home", str(tmp_path)])
    assert [request.servers for request in asked] == [ServerOptions(5.0, 0, 7.0), ServerOptions()]


def test_search(asked, tmp_path):
    given = ["search", "--prompts", "p.jsonl", "--refiner", SERVER, "--out", str(tmp_path), "--home", str(tmp_path)]
    invoke([*given, "--timeout", "5", "--retries", "0", "--max-wait", "7", "--fresh"])
    invoke([*given, "--model-digest", "weights"])
    expected = [ServerOptions(5.0, 0, 7.0, fresh=True), ServerOptions(model_digest="weights")]
    assert [request.servers() for request in asked] == expected


@pytest.mark.parametrize("wrong", [("--timeout", "0"), ("--timeout", "86401"), ("--retries", "-1")])
def test_values_out_of_range_are_refused(asked, wrong, tmp_path):
    assert invoke(["refine", "Hi", "--home", str(tmp_path), *wrong]) == 2
    assert not asked
