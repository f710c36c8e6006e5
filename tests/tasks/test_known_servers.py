"""A server is known by how it answers, not by where it stands: against a real HTTP server whose weights change."""

from pathlib import Path

import pytest

from spar_core.engines.configuration import OpenAIEngineConfig
from spar_core.engines.server_identity import PROBES, description_of, probe
from spar_core.errors import EngineError
from storage.disk import read_json
from storage.home import Home
from tasks.known_servers import server_digest
from tests.chat_server import ChatServer, chat_server

OTHER = "something else about {}".format


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def _engine(server: ChatServer, **fields: object) -> OpenAIEngineConfig:
    return OpenAIEngineConfig.model_validate({"base_urls": (server.url,), "model": "m", "max_retries": 0, **fields})


def _identity(home: Home, server: ChatServer, *, fresh: bool = False, **fields: object) -> str:
    return server_digest(home, _engine(server, **fields), description_of([server.url], "m"), fresh=fresh)


def test_new_weights_behind_an_old_name_are_noticed(home, caplog):
    with chat_server() as server:
        first = _identity(home, server)
        assert not caplog.messages
        server.answer = OTHER
        second = _identity(home, server)
        assert "answers differ from those of" in caplog.messages[-1]
        assert "earlier results are not reused" in caplog.messages[-1]
        server.answer = "about {}".format
        assert _identity(home, server) == first != second
        assert "reused" in caplog.messages[-1]
        assert first[:8] in caplog.messages[-1]


def test_a_server_that_moved_is_the_same(home, caplog):
    with chat_server() as before:
        first = _identity(home, before)
    with chat_server() as after:
        after.models = [{"id": "m", "root": "/weights", "created": 2}]
        assert after.url != before.url
        assert _identity(home, after) == first
    assert "reused" in caplog.messages[-1]


def test_the_same_server_is_the_same_in_every_home(home, tmp_path):
    with chat_server() as server:
        assert _identity(home, server) == _identity(Home(tmp_path / "other"), server)


@pytest.mark.parametrize("flips", [1, len(PROBES) // 2])
def test_flips_of_half_of_the_answers_are_the_same_server(home, flips):
    with chat_server() as server:
        first = _identity(home, server)
        server.answer = lambda text: OTHER(text) if text in PROBES[:flips] else f"about {text}"
        assert _identity(home, server) == first
        # The variants are remembered: the other half may flip now, though no answer is as it was at first.
        server.answer = lambda text: OTHER(text) if text in PROBES[:flips] else f"third {text}"
        assert (_identity(home, server) == first) == (2 * flips >= len(PROBES))


def test_a_flip_of_more_than_half_is_another_server(home):
    with chat_server() as server:
        first = _identity(home, server)
        server.answer = lambda text: OTHER(text) if text in PROBES[: len(PROBES) // 2 + 1] else f"about {text}"
        assert _identity(home, server) != first


@pytest.mark.parametrize("entry", [{"root": "/other"}, {"max_model_len": 64}, {"parent": "base"}, {"owned_by": "x"}])
def test_a_server_that_says_otherwise_of_itself_is_another(home, entry):
    with chat_server() as server:
        first = _identity(home, server)
        server.models = [{"id": "m", "root": "/weights", **entry}]
        assert _identity(home, server) != first


def test_other_request_fields_make_another_identity(home):
    with chat_server() as server:
        assert _identity(home, server) != _identity(home, server, extra_body={"top_k": 1})
        assert _identity(home, server) == _identity(home, server, max_concurrency=2, timeout_s=9)


def test_fresh_makes_a_new_identity_that_later_calls_go_on_with(home, caplog):
    with chat_server() as server:
        first = _identity(home, server)
        second = _identity(home, server, fresh=True)
        assert not caplog.messages
        assert second not in (first, _identity(home, server, fresh=True))
        third = max(read_json(home.models / "servers.json").values(), key=lambda entry: entry["last_seen"])["identity"]
        assert _identity(home, server) == third


def test_a_prompt_that_is_refused_is_an_answer_too(home):
    with chat_server() as server:
        server.answer = lambda text: None if text == PROBES[0] else "text"  # a thinking model cut before it spoke
        assert probe(_engine(server)) == ("refused: empty_choice", *["text"] * (len(PROBES) - 1))


def test_a_damaged_memory_is_begun_anew(home, caplog):
    with chat_server() as server:
        first = _identity(home, server)
        (home.models / "servers.json").write_text('{"x": {"identity": 1}}', encoding="utf-8")
        assert _identity(home, server) == first
    assert "unreadable" in caplog.messages[-1]


def test_the_key_in_use_is_named_where_it_is_wrong(monkeypatch):
    monkeypatch.setenv("THE_KEY", "wrong-canary")
    with chat_server(token="right") as server:
        with pytest.raises(EngineError, match="HTTP 401: the key was that in the environment variable THE_KEY"):
            description_of([server.url], "m", "THE_KEY")
        with pytest.raises(EngineError, match=r"no key was sent.*#MODEL&key=VARIABLE"):
            description_of([server.url], "m")
        with pytest.raises(EngineError, match="environment variable THE_KEY") as refused:
            probe(_engine(server, api_key_env="THE_KEY"))
    assert "wrong-canary" not in str(refused.value)
